// MultiNLI: entailment, neutral or contradiction between two sentences of several genres.
local data = 'https://cims.nyu.edu/~sbowman/multinli/multinli_1.0.zip!multinli_1.0/';

(import 'experiment.libsonnet') {
  reader:: { type: 'sledgehammer_multinli' },
  train_data_path: data + 'multinli_1.0_train.jsonl',
  validation_data_path: data + 'multinli_1.0_dev_matched.jsonl',
}
