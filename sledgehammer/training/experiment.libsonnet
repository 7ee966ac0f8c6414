// What the training configs share: the paper's model and hyper-parameters (Schwartz et al. 2020).
// A value that somebody may want to override stands in one place of the final config.

{
  backbone:: 'bert-large-uncased',
  exit_layers:: [0, 4, 12, 23],
  pooling:: 'first',
  reader:: error 'reader: the type of the dataset reader and its arguments',
  batch_size:: 72,
  // Batches of batch_size / accumulation texts go through the model at a time.
  accumulation:: 1,
  learning_rate:: 2e-5,
  // Of the exits. The paper has one rate for all; a small model's low exits gain from a higher one.
  exit_learning_rate:: $.learning_rate,
  epochs:: 2,

  // Settings of an exit before the first layer, a linear model on n-grams ({}: the defaults).
  lexical:: null,

  dataset_reader: { model_name: $.backbone, max_length: 512 }
                  + (if $.lexical == null then {} else { lexical: true }) + $.reader,
  train_data_path: error 'train_data_path',
  validation_data_path: error 'validation_data_path',
  model: {
    type: 'sledgehammer',
    exit_layers: $.exit_layers,
    pooling: $.pooling,
    dropout: 0.1,
    objective: { type: 'joint' },
    policy: { type: 'confidence', threshold: 0.9 },
  } + (if $.lexical == null then {} else { lexical: $.lexical }),
  data_loader: {
    batch_sampler: {
      type: 'bucket',
      batch_size: std.floor($.batch_size / $.accumulation),
      sorting_keys: ['tokens'],
    },
  },
  // Also what `allennlp evaluate` uses, whose `--batch-size` it understands.
  validation_data_loader: { type: 'sledgehammer_sorted', batch_size: 64 },
  trainer: {
    num_epochs: $.epochs,
    num_gradient_accumulation_steps: $.accumulation,
    // Does not depend on the threshold or on the temperatures.
    validation_metric: '+mean_exit_accuracy',
    optimizer: {
      type: 'adamw',
      lr: $.learning_rate,
      weight_decay: 0.01,
      parameter_groups: [
        [['^(exits|depth)'], { lr: $.exit_learning_rate, weight_decay: 0.0 }],
        [['^encoder.*(bias|LayerNorm)'], { weight_decay: 0.0 }],
      ],
    },
    // In objectives with stages it starts anew at each.
    learning_rate_scheduler: { type: 'sledgehammer_slanted_triangular', cut_frac: 0.1 },
    callbacks: ['sledgehammer_calibration', 'sledgehammer_objective'],
  },
  // The tokenizer and the transformer's config: an archive needs no hub and no local folder.
  include_in_archive: ['transformer'],
}
