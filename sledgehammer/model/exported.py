"""Open exported models in AllenNLP, so that its commands take them like archives."""

import json
from pathlib import Path
from typing import Optional, Tuple

import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Archive
from torch import Tensor

from sledgehammer.engine import Engine, EngineError, load
from sledgehammer.engine.runtimes import Arrays
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.chosen_setting import with_choice
from sledgehammer.model.fitted_rows import PURPOSES
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.network.families import TokenTensors
from sledgehammer.network.runner import Answers, GradientFlow, LexicalLogits
from sledgehammer.network.signals import AllExits
from sledgehammer.policies import ExitPolicy, RowSettings


class EngineRunner:
    """Run batches in an exported model; see `NetworkRunner`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """See `NetworkRunner`; there are no gradients."""
        logits, signals = self._engine.run_all_exits(self._arrays(tokens))
        return AllExits(
            torch.from_numpy(logits), {n: torch.from_numpy(s) for n, s in signals.items()}
        )

    def run_until_answered(
        self,
        tokens: TokenTensors,
        temperatures: Tensor,
        policy: ExitPolicy,
        settings: Optional[RowSettings] = None,
        lexical: Optional[LexicalLogits] = None,
    ) -> Answers:
        """See `NetworkRunner`; the engine has its own temperatures, and ignores those given."""
        lexical_logits = None if lexical is None else lexical.logits.cpu().numpy()
        batch = self._engine.start(
            self._arrays(tokens), policy.values if settings is None else settings, lexical_logits
        )
        exits, probs = self._engine.run_until_answered(batch, policy)
        return Answers(torch.from_numpy(exits), torch.from_numpy(probs))

    def _arrays(self, tokens: TokenTensors) -> Arrays:
        inputs = self._engine.manifest.inputs
        return {name: tokens[name].long().cpu().numpy() for name in inputs}


class ExportedClassifier(ExitClassifier):
    """Make an exported model an AllenNLP `Model`, which can't be trained.

    # Parameters

    vocab : `Vocabulary`
    engine : `Engine`
    policy : `ExitPolicy`
    label_namespace : `str`
    mix : `bool`, optional (default = `True`)
        See `LexicalExit`.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        engine: Engine,
        policy: ExitPolicy,
        label_namespace: str,
        mix: bool = True,
    ) -> None:
        manifest = engine.manifest
        super().__init__(
            vocab,
            manifest.exit_layers[1:] if manifest.has_lexical else manifest.exit_layers,
            manifest.full_layers,
            policy=policy,
            label_namespace=label_namespace,
            signals=manifest.signals,
            lexical=None if engine.lexical is None else LexicalExit.of(engine.lexical, mix),
        )
        if engine.exits.shares is not None:
            self.store_shares(engine.exits.shares)
        self.engine = engine
        self.temperatures.copy_(torch.tensor(manifest.temperatures))
        if manifest.mixing:
            self.mixing.copy_(torch.tensor(manifest.mixing))
        self.runner = EngineRunner(engine)
        # AllenNLP's predictors ask the first parameter for its device.
        self.nothing = torch.nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def number_format(self) -> str:
        return self.engine.manifest.number_format

    def weights_fingerprint(self) -> str:
        return str(self.engine.manifest.source.get("fingerprint", ""))


def load_exported(directory: Path, overrides: str = "") -> Archive:
    """Open an exported model as AllenNLP opens an archive.

    # Parameters

    overrides : `str`, optional
        Changes of the archive's config, as JSON. Only those of the policy and of the readers have an
        effect.

    # Raises

    `ConfigurationError` if the directory is not an exported model, or is incomplete or damaged, or
    if its runtime is not installed.
    """
    try:
        engine = load(directory)
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    config = Params.from_file(str(directory / "config.json"), overrides)
    model = _model(engine, config["model"].duplicate())
    seen_rows = json.loads((directory / "seen.json").read_text(encoding="utf-8"))
    for purpose in PURPOSES:  # older versions did not write them all
        hashes = torch.tensor(seen_rows.get(purpose, []), dtype=torch.long)
        setattr(model.seen, purpose, hashes)
    reader, validation_reader = _readers(config.duplicate(), directory)
    return Archive(
        model=with_choice(model.eval(), directory),
        config=config,
        dataset_reader=reader,
        validation_dataset_reader=validation_reader,
        meta=None,
    )


def _model(engine: Engine, config: Params) -> ExportedClassifier:
    namespace = config.get("label_namespace", "labels")
    vocab = Vocabulary(non_padded_namespaces=[namespace])
    for label in engine.manifest.labels:
        vocab.add_token_to_namespace(label, namespace)
    policy = RegisteredPolicy.from_params(config.get("policy", {}))
    mix = bool((config.get("lexical", None) or {}).get("mix", True))
    return ExportedClassifier(vocab, engine, policy, namespace, mix)


def _readers(config: Params, directory: Path) -> Tuple[DatasetReader, DatasetReader]:
    """Return the reader of training data and that of validation data."""
    reader = config["dataset_reader"]
    validation_reader = config.get("validation_dataset_reader", None) or reader
    return (
        DatasetReader.from_params(reader.duplicate(), serialization_dir=str(directory)),
        DatasetReader.from_params(validation_reader.duplicate(), serialization_dir=str(directory)),
    )
