// IMDB: sentiment of a film review, 2 classes, long texts.
local data = 'https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz!aclImdb/';

(import 'experiment.libsonnet') {
  reader:: { type: 'sledgehammer_imdb', validation_size: 5000 },
  accumulation:: 6,  // 12 texts of up to 512 word pieces at a time
  train_data_path: data + 'train#train',
  validation_data_path: data + 'train#validation',
}
