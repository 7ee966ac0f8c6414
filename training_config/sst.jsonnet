// Stanford Sentiment Treebank: sentiment of a sentence, 2 classes (neutral ones left out).
local data = 'https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip!trees/';

(import 'experiment.libsonnet') {
  reader:: { type: 'sledgehammer_sst', granularity: '2-class' },
  train_data_path: data + 'train.txt',
  validation_data_path: data + 'dev.txt',
}
