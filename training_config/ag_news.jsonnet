// AG News: topic of a news item, 4 classes.
local data = 'https://s3.amazonaws.com/fast-ai-nlp/ag_news_csv.tgz!ag_news_csv/';

(import 'experiment.libsonnet') {
  reader:: { type: 'sledgehammer_ag_news', validation_size: 5000 },
  train_data_path: data + 'train.csv#train',
  validation_data_path: data + 'train.csv#validation',
}
