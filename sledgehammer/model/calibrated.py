"""Keep what calibration fits of a model with several exits, and the policy that goes by it."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import numpy as np
import torch
from allennlp.data import Vocabulary
from allennlp.models import Model
from torch import Tensor

from sledgehammer.calibration import Scaling, fit_scalings, fit_temperatures, mixed
from sledgehammer.lexical import Pieces
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.network.runner import Answers
from sledgehammer.network.signals import CERTAINTY, DEPTH, AllExits, beside_lexical
from sledgehammer.policies import (
    Evidence,
    ExitPolicy,
    Exits,
    RowSettings,
    exit_shares,
    known_shares,
    unknown_shares,
)


class CalibratedModel(Model):
    """Hold the exits of a model, how their logits become probabilities, and when rows stop.

    # Parameters

    vocab : `Vocabulary`
    network_layers : `Sequence[int]`
        The layers, counted from 0, after which an exit of the network stands.
    policy : `ExitPolicy`
    signals : `Sequence[str]`
        The learned signals that the model computes.
    lexical : `LexicalExit`, optional
        An exit before the first layer.

    # Raises

    `ConfigurationError` if the policy needs what the model does not have.
    """

    temperatures: Tensor
    """Shape (exits,): a buffer, so that weights and archives carry it."""

    mixing: Tensor
    """Shape (exits,): how much of the lexical exit's logits is added to those of each exit; a
    buffer that is stored if there is a lexical exit, and zeros otherwise."""

    exit_shares: Tensor
    """The share of rows that each exit answers, by threshold (see `policies.exit_shares`): a buffer
    too."""

    def __init__(
        self,
        vocab: Vocabulary,
        network_layers: Sequence[int],
        policy: ExitPolicy,
        label_namespace: str,
        signals: Sequence[str],
        lexical: Optional[LexicalExit],
        **kwargs: Any,
    ) -> None:
        super().__init__(vocab, **kwargs)
        self.label_namespace = label_namespace
        self.network_layers = list(network_layers)
        """The layers of the network's exits."""
        self.exit_layers = [*([] if lexical is None else [-1]), *network_layers]
        """The layers of all exits: the lexical exit, if there is one, is the first, at -1."""
        self.lexical = lexical
        self.signals = list(signals)
        exits = len(self.exit_layers)
        self.register_buffer("temperatures", torch.ones(exits))
        self.register_buffer("mixing", torch.zeros(exits), persistent=lexical is not None)
        # Before calibration it has the same shape, so that any weights can be loaded.
        self.register_buffer("exit_shares", torch.from_numpy(unknown_shares(exits)))
        self._register_load_state_dict_pre_hook(self._complete_state)
        self.policy = policy

    @property
    def labels(self) -> List[str]:
        """Return the names of the labels, by index."""
        names = self.vocab.get_index_to_token_vocabulary(self.label_namespace)
        return [names[index] for index in range(len(names))]

    @property
    def policy(self) -> ExitPolicy:
        """Return what decides when rows stop; setting it binds it to this model.

        # Raises

        `ConfigurationError` when it is set, if it needs what this model does not have.
        """
        return self._policy

    @policy.setter
    def policy(self, policy: ExitPolicy) -> None:
        self._bind(policy, self.exit_shares)
        self._policy = policy

    @contextmanager
    def deciding_by(self, policy: ExitPolicy) -> Iterator[None]:
        """Let another policy, which is bound to this model, decide inside of the block."""
        before, self._policy = self._policy, policy
        try:
            yield
        finally:
            self._policy = before

    def measure_shares(self, logits: Tensor) -> None:
        """Store where rows stop at which threshold, for the policies that ask.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated, of calibration data.
        """
        self.store_shares(exit_shares(self.calibrated(logits).cpu().numpy()))

    def store_shares(self, shares: np.ndarray) -> None:
        """Store what `policies.exit_shares` computed from calibration data."""
        self.exit_shares.copy_(torch.from_numpy(shares))
        self._bind(self.policy, self.exit_shares)

    def shares_on_host(self) -> Optional[np.ndarray]:
        """Return the shares that were stored, if any were."""
        return known_shares(self.exit_shares.cpu().numpy())

    def _bind(self, policy: ExitPolicy, shares: Tensor) -> None:
        with configuration_errors():
            known = known_shares(shares.cpu().numpy())
            policy.bind(Exits(self.exit_layers, self.signals, known, self.labels))

    def _complete_state(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        """Add what weights lack: older versions had no shares, and a lexical exit may be new."""
        if self.lexical is not None:
            state_dict.setdefault(prefix + "mixing", self.mixing)
            stored = state_dict.get(prefix + "temperatures")
            if stored is not None and len(stored) == len(self.network_layers):
                state_dict[prefix + "temperatures"] = torch.cat([stored.new_ones(1), stored])
                state_dict[prefix + "exit_shares"] = torch.zeros_like(self.exit_shares)
        self._bind(self.policy, state_dict.setdefault(prefix + "exit_shares", self.exit_shares))

    def calibrated(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities of (rows, exits, labels) logits, in the same shape."""
        return torch.softmax(self.scaled(logits), dim=-1)

    def scaled(self, logits: Tensor) -> Tensor:
        """Return (rows, exits, labels) logits as calibration scales and mixes them."""
        logits = logits.float()
        if self.lexical is not None:
            logits = mixed(logits, self.mixing.to(logits.device))
        return logits / self.temperatures.to(logits.device)[:, None]

    @property
    def scalings(self) -> List[Scaling]:
        """Return how the logits of each exit become probabilities."""
        return [Scaling(*both) for both in zip(self.temperatures.tolist(), self.mixing.tolist())]

    @scalings.setter
    def scalings(self, scalings: Sequence[Scaling]) -> None:
        self.temperatures.copy_(torch.tensor([scaling.temperature for scaling in scalings]))
        self.mixing.copy_(torch.tensor([scaling.mixing for scaling in scalings]))

    def fit_scalings(self, logits: Tensor, label: Tensor) -> List[Scaling]:
        """Return the scaling of each exit that fits some rows best; the model is not changed.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        label : `Tensor`
            Shape (rows,), long.
        """
        if self.lexical is not None and self.lexical.mix:
            return fit_scalings(logits, label)
        return [Scaling(temperature, 0.0) for temperature in fit_temperatures(logits, label)]

    def with_lexical(self, network: AllExits, pieces: Optional[Sequence[Pieces]]) -> AllExits:
        """Return what all exits say: the lexical exit, if there is one, before the network's.

        # Parameters

        network : `AllExits`
        pieces : `Sequence[Pieces]`, optional
            The word pieces of the rows' whole texts.
        """
        if self.lexical is None:
            return network
        lexical = self.lexical.logits(pieces)
        logits = torch.cat([lexical.to(network.logits)[:, None], network.logits], dim=1)
        signals = dict(network.signals)
        if DEPTH in signals:
            signals[DEPTH] = beside_lexical(signals[DEPTH])
        if CERTAINTY in signals:
            confidence = self.calibrated(logits.detach())[:, :1].amax(dim=-1)
            signals[CERTAINTY] = torch.cat([confidence, signals[CERTAINTY]], dim=1)
        return AllExits(logits, signals)

    def answer(
        self,
        logits: Tensor,
        settings: Optional[RowSettings] = None,
        signals: Optional[Mapping[str, Tensor]] = None,
    ) -> Answers:
        """Return what the policy would have answered, given the logits of all exits.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        settings : `RowSettings`, optional
            Settings in place of the policy's own; arrays of shape (rows,) where rows differ.
        signals : `Mapping[str, Tensor]`, optional
            The signals that the policy needs; see `AllExits`.
        """
        probs = self.calibrated(logits)
        arrays = {n: signal.detach().cpu().numpy() for n, signal in (signals or {}).items()}
        evidence = Evidence(probs.detach().cpu().numpy(), arrays)
        positions = self.policy.replay(evidence, settings)
        answered_by = torch.from_numpy(positions).to(probs.device)
        rows = torch.arange(len(probs), device=probs.device)
        return Answers(answered_by, probs[rows, answered_by])
