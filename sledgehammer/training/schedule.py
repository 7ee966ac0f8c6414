"""Schedule a learning rate that starts anew at each stage of an objective."""

from typing import Optional

from allennlp.training.learning_rate_schedulers import LearningRateScheduler, SlantedTriangular


@LearningRateScheduler.register("sledgehammer_slanted_triangular")
class StagedTriangular(SlantedTriangular):
    """Run AllenNLP's `slanted_triangular` once in each stage of the objective.

    In each stage the learning rate rises for the first `cut_frac` of the steps and falls in the
    others, as if each stage were a run of its own (as in the code of Xin et al., "DeeBERT", and of
    Liu et al., "FastBERT", both ACL 2020). The trainer callback `sledgehammer_objective` tells it
    when a stage begins. Without stages this is `slanted_triangular`, whose parameters it has.
    """

    _stage_start = 0  # in batches of the whole run

    def begin_stage(self, epochs: int, batches_done: int) -> None:
        """Start the schedule anew for a stage.

        # Parameters

        epochs : `int`
            How many epochs the stage will have, at least 1.
        batches_done : `int`
            How many batches the run has had before this stage.
        """
        self.num_epochs = epochs
        self._stage_start = batches_done
        self.batch_num_total_epoch_end = [0]
        self.step_batch(batches_done)

    def step_batch(self, batch_num_total: Optional[int] = None) -> None:
        """Set the rate of the next batch, `batch_num_total` being counted from the run's start."""
        if batch_num_total is not None:
            batch_num_total -= self._stage_start
        super().step_batch(batch_num_total)  # type: ignore[arg-type]  # AllenNLP takes None
