"""Exported models behind AllenNLP's interfaces, so that its commands take them like archives."""

import json
from pathlib import Path
from typing import Optional

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
from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.runner import Answers, GradientFlow, LexicalLogits
from sledgehammer.network.signals import AllExits
from sledgehammer.policies import ExitPolicy, RowSettings


class EngineRunner:
    """Runs batches in an exported model, stopping by any of our policies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """What every exit of the network says of every row; there are no gradients."""
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
        """Run each row until `policy` lets it exit; the temperatures are the engine's own."""
        own = policy.values if settings is None else settings
        logits = None if lexical is None else lexical.logits.cpu().numpy()
        batch = self._engine.start(self._arrays(tokens), logits)
        exits, probs = self._engine.run_until_answered(batch, policy, own)
        return Answers(torch.from_numpy(exits), torch.from_numpy(probs))

    def _arrays(self, tokens: TokenTensors) -> Arrays:
        inputs = self._engine.manifest.inputs
        return {name: tokens[name].long().cpu().numpy() for name in inputs}


class ExportedClassifier(ExitClassifier):
    """An exported model as an AllenNLP `Model`; it can't be trained.

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
        Of the archive's config, as JSON: those of the policy and the readers have an effect.

    # Raises

    `ConfigurationError` if it is no exported model, incomplete or damaged, or its runtime is
    missing.
    """
    try:
        engine = load(directory)
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    manifest = engine.manifest
    config = Params.from_file(str(directory / "config.json"), overrides)
    model_config = config["model"].duplicate()
    namespace = model_config.get("label_namespace", "labels")
    vocab = Vocabulary(non_padded_namespaces=[namespace])
    for label in manifest.labels:
        vocab.add_token_to_namespace(label, namespace)
    policy = RegisteredPolicy.from_params(model_config.get("policy", {}))
    mix = bool((model_config.get("lexical", None) or {}).get("mix", True))
    model = ExportedClassifier(vocab, engine, policy, namespace, mix)
    seen = json.loads((directory / "seen.json").read_text(encoding="utf-8"))
    for name in PURPOSES:  # older versions did not write them all
        setattr(model.seen, name, torch.tensor(seen.get(name, []), dtype=torch.long))
    readers = config.duplicate()
    reader_config = readers["dataset_reader"]
    validation = readers.get("validation_dataset_reader", None) or reader_config
    made = [
        DatasetReader.from_params(params.duplicate(), serialization_dir=str(directory))
        for params in (reader_config, validation)
    ]
    return Archive(
        model=with_choice(model.eval(), directory),
        config=config,
        dataset_reader=made[0],
        validation_dataset_reader=made[1],
        meta=None,
    )
