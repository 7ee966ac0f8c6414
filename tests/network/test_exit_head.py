"""The exit head: what it computes, that its mix learns, that it is light."""

import pytest
import torch
from transformers import BertConfig

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.exit_head import ExitHead


def test_hand_computed_value() -> None:
    head = ExitHead(layer=1, hidden_size=2, num_labels=2).eval()
    pooled = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        head.linear.bias.copy_(torch.tensor([0.5, 0.0]))
        # At first all layers count alike: the mixed state is (2, 3).
        torch.testing.assert_close(head(pooled), torch.tensor([[2.5, 6.0]]))
        head.mix.copy_(torch.tensor([1.0, 3.0]).log())
        # Weights 1/4 and 3/4: the mixed state is (2.5, 3.5).
        torch.testing.assert_close(head(pooled), torch.tensor([[3.0, 7.0]]))


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    head = ExitHead(layer=1, hidden_size=8, num_labels=2, dropout=0.5)
    pooled = torch.randn(3, 2, 8)
    assert not torch.equal(head.train()(pooled), head(pooled))
    assert torch.equal(head.eval()(pooled), head(pooled))


def test_exit_at_layer_0_reads_that_layer() -> None:
    head = ExitHead(layer=0, hidden_size=3, num_labels=2).eval()
    pooled = torch.randn(4, 1, 3)
    torch.testing.assert_close(head(pooled), head.linear(pooled[:, 0]))


@pytest.mark.parametrize("layer", [0, 2])
@torch.no_grad()
def test_logits_without_gradients_are_the_same(layer: int) -> None:
    """By another way, which notices when weights change."""
    head = ExitHead(layer, hidden_size=8, num_labels=3).eval()
    pooled = list(torch.randn(layer + 1, 4, 8))

    def check() -> None:
        expected = head(torch.stack(pooled, dim=1))
        torch.testing.assert_close(head.logits(pooled), expected, rtol=1e-5, atol=1e-6)

    check()
    for parameter in head.parameters():
        parameter.copy_(torch.randn(parameter.shape))
        check()
    head.load_state_dict(ExitHead(layer, hidden_size=8, num_labels=3).state_dict())
    check()
    if head.mix is not None:
        head.mix.data = torch.randn(layer + 1)
        check()
        head.mix.data[0] = 3.0  # nobody is told, but whoever does so calls `eval` in the end
        head.eval()
        check()


def test_logits_without_gradients_are_not_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    head = ExitHead(layer=1, hidden_size=8, num_labels=3).eval()
    pooled = list(torch.randn(2, 4, 8))
    with torch.no_grad():
        head.logits(pooled)
        monkeypatch.setattr(torch, "softmax", None)
        head.logits(pooled)


@pytest.mark.parametrize("training", [False, True])
def test_logits_have_gradients(training: bool) -> None:
    head = ExitHead(layer=1, hidden_size=8, num_labels=3).train(training)
    with torch.no_grad():
        head.logits([torch.randn(4, 8), torch.randn(4, 8)])
    pooled = torch.randn(2, 4, 8, requires_grad=True)
    head.logits(list(pooled)).square().sum().backward()
    assert pooled.grad is not None
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_mix_reaches_the_optimizer_and_moves(model: MultiExitClassifier) -> None:
    """In the paper's code the mix is created anew in each pass, so that it never moves."""
    mixes = {name: p for name, p in model.named_parameters() if name.endswith("mix")}
    assert list(mixes) == ["exits.1.mix", "exits.2.mix"]
    before = {name: p.detach().clone() for name, p in mixes.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = {
        "input_ids": torch.randint(5, 100, (8, 6)),
        "attention_mask": torch.ones(8, 6, dtype=torch.bool),
    }
    label = torch.arange(8) % 2
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(tokens, label)["loss"].backward()
        optimizer.step()
    for name, mix in mixes.items():
        assert (mix - before[name]).abs().max() > 1e-3


@pytest.mark.parametrize("labels, queries", [(2, 0), (3, 0), (4, 0), (2, 1), (3, 1)])
def test_four_exits_add_less_than_a_two_hundredth_of_a_per_cent_to_bert_large(
    labels: int, queries: int
) -> None:
    extra = sum(
        parameter.numel()
        for layer in (0, 4, 12, 23)
        for parameter in ExitHead(layer, 1024, labels, queries=queries).parameters()
    )
    config = BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    assert extra < 0.00005 * bert_parameters(config)


def bert_parameters(config: BertConfig) -> int:
    """Counted by hand: building the model would take 1.3 GB."""
    hidden, inner = config.hidden_size, config.intermediate_size
    words = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + hidden) + norm
    feed_forward = hidden * inner + inner + inner * hidden + hidden + norm
    pooler = hidden * hidden + hidden
    layers = config.num_hidden_layers * (attention + feed_forward)
    return words * hidden + norm + layers + pooler


def test_the_count_by_hand_is_right() -> None:
    from transformers import BertModel

    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=20,
    )  # fmt: skip
    counted = sum(parameter.numel() for parameter in BertModel(config).parameters())
    assert counted == bert_parameters(config)
