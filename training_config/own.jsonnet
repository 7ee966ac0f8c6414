// Your own table, whose first row names the columns. Three variables say what to read:
//   DATA=reviews.csv TEXT=text LABEL=label allennlp train training_config/own.jsonnet -s out/own
// All else can be overridden, or stands in sledgehammer/training/own.libsonnet.
(import '../sledgehammer/training/own.libsonnet') {
  data:: std.extVar('DATA'),
  // Several columns, which are joined: TEXT=title,body.
  text:: std.split(std.extVar('TEXT'), ','),
  label:: std.extVar('LABEL'),
}
