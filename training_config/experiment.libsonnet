// What the training configs share. It stands in the package, where `sledgehammer fit` finds it.
import '../sledgehammer/training/experiment.libsonnet'
