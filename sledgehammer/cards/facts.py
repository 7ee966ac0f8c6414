"""Gather what a card tells, whatever it comes from: an archive or an exported model."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Dict, List, Mapping, Optional
from urllib.parse import urlsplit

from sledgehammer.engine.curve import Curve
from sledgehammer.engine.speed import Speed
from sledgehammer.policies import Choice, Conditions

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_READER = "sledgehammer_hf"


@dataclass
class Facts:
    """Hold what is known of a model; what is not is `None` or empty.

    # Parameters

    name : `str`
        What the card calls the model.
    config : `Dict[str, Any]`
        The config that trained it.
    labels : `List[str]`
    exit_layers : `List[int]`
        Counted from 0; -1 is the exit before the first layer.
    full_layers : `int`, optional
    conditions : `Conditions`
        The policy, the temperatures and so on.
    used_rows : `Dict[str, int]`
        How many rows were used to fit the weights, the temperatures and the setting.
    choice : `Choice`, optional
        What the policy's setting was chosen for.
    curve : `Curve`, optional
        Only if it is that of the model as it is.
    speed : `Speed`, optional
    timings : `Dict[str, Any]`
        See `Manifest.timings`.
    verification : `Dict[str, Any]`
        What `export --verify` found.
    metrics : `Dict[str, Any]`
        What the training run measured, if the weights are still those.
    exported : `Dict[str, str]`
        Of an exported model: `runtime`, `precision` and `activation_scales`.
    versions : `Dict[str, str]`
        The libraries that wrote it.
    """

    name: str
    config: Dict[str, Any]
    labels: List[str]
    exit_layers: List[int]
    full_layers: Optional[int]
    conditions: Conditions
    used_rows: Dict[str, int]
    choice: Optional[Choice] = None
    curve: Optional[Curve] = None
    speed: Optional[Speed] = None
    timings: Dict[str, Any] = field(default_factory=dict)
    verification: Dict[str, Any] = field(default_factory=dict)
    metrics: Dict[str, Any] = field(default_factory=dict)
    exported: Dict[str, str] = field(default_factory=dict)
    versions: Dict[str, str] = field(default_factory=dict)

    @property
    def reader(self) -> Mapping[str, Any]:
        """The config of the reader of the training data."""
        return _object(self.config.get("dataset_reader"))

    @property
    def model(self) -> Mapping[str, Any]:
        """The config of the model."""
        return _object(self.config.get("model"))

    @property
    def backbone(self) -> Optional[str]:
        """The name of the pretrained transformer, without the folders of a path."""
        name = self.reader.get("model_name") or self.model.get("model_name")
        if not isinstance(name, str):
            return None
        return name if name.startswith("package:") or is_hub_name(name) else PurePath(name).name

    @property
    def hub_datasets(self) -> List[str]:
        """The datasets of the hub that it was trained on."""
        path = self.config.get("train_data_path")
        if self.reader.get("type") != _HUB_READER or not isinstance(path, str):
            return []
        name = path.partition("#")[0]
        return [name] if is_hub_name(name) else []

    def data(self, key: str) -> Optional[str]:
        """Return what the config calls its training or validation data; see `shown_data`."""
        path = self.config.get(key)
        return shown_data(path) if isinstance(path, str) and path else None


def name_of(model: Path) -> str:
    """Return what a card calls a model at some place: its name, without endings.

    Names that many models have, `engine` or `model.tar.gz`, leave that to the folder above.
    """
    place = model.resolve()
    while place.name in ("engine", "model", "model.tar.gz") and place.parent != place:
        place = place.parent
    return place.name.removesuffix(".tar.gz") or "model"


def is_hub_name(name: str) -> bool:
    """Return whether a name can be one of the hub: `NAME` or `OWNER/NAME`.

    `fixtures/tiny_bert` could be one too: where both could be meant, a folder is.
    """
    return bool(_HUB_NAME.fullmatch(name)) and not Path(name).exists()


def shown_data(path: str) -> str:
    """Return a path of data as a card may show it.

    Folders of the machine are left out: they may name people; so are passwords in URLs.
    """
    if "://" in path:
        parts = urlsplit(path)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    return PurePath(path).name


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
