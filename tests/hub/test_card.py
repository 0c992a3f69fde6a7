"""The model card: it reads well, and says nothing that was not measured."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.errors import HubError
from prunus.hub import About, card_of
from prunus.hub.contents import _call
from prunus.hub.public import without_paths
from prunus.report import words


@pytest.fixture
def result(run: Any) -> dict[str, Any]:
    """A result of a run that was tuned, on its way to the Hub."""
    return copy.deepcopy(without_paths(run))


def section(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def head(text: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="the extra yaml is not installed")
    return yaml.safe_load(text.split("---\n")[1])


def test_what_chose_the_channels_is_left_out_where_nobody_said_it(result: dict[str, Any]) -> None:
    said, result["target"]["score"] = result["target"]["score"], ""
    card = card_of(result, "me/net", About())
    assert said and said not in card and " by ," not in card and "chosen by" not in card


def test_the_head_is_what_the_hub_reads(result: dict[str, Any]) -> None:
    about = About(license="apache-2.0", base_model="somebody/dense")
    found = head(card_of(result, "me/net", about))
    index = found.pop("model-index")
    assert found == {
        "library_name": "prunus",
        "license": "apache-2.0",
        "tags": ["prunus", "pruning", "structured-pruning", "model-compression"],
        "base_model": "somebody/dense",
        "pipeline_tag": "image-classification",
        "metrics": ["accuracy"],
    }
    (entry,) = index
    (row,) = entry["results"]
    assert entry["name"] == "net" and row["dataset"] == {"name": "digits", "type": "digits"}
    last = result["accuracy"]["steps"][-1]["value"]
    assert row["metrics"] == [
        {"type": "accuracy", "value": pytest.approx(last / 100, abs=1e-4), "name": "top-1 accuracy"}
    ]


def test_the_hub_s_own_reader_takes_the_head(result: dict[str, Any]) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    found = hub.ModelCard(card_of(result, "me/net", About(license="mit"))).data
    assert found.license == "mit" and found.eval_results[0].metric_type == "accuracy"


@pytest.mark.parametrize(
    "text", ['a "quoted": # name', "line\nbreak", "- a", "{x}", "ünï 樹 😀", "yes", "---"]
)
def test_no_text_breaks_the_head(text: str, result: dict[str, Any]) -> None:
    result["model"]["data"]["name"] = text
    found = head(card_of(result, "me/net", About(license=text, base_model=text)))
    line = " ".join(text.split())
    assert found["license"] == found["base_model"] == line
    assert found["model-index"][0]["results"][0]["dataset"]["name"] == line


def test_figures_stand_side_by_side(result: dict[str, Any]) -> None:
    table = section(card_of(result, "me/net"), "Before and after")
    cost = result["cost"]
    times = words.times(cost["before"]["macs"], cost["after"]["macs"])
    before, after = (words.count(cost[side]["macs"]) for side in ("before", "after"))
    assert f"| MACs | {before} | {after} | {times} |" in table
    assert "Latency, PyTorch" in table and f"on {result['environment']['processor']} (" in table


def test_a_metric_without_a_control_says_so(result: dict[str, Any]) -> None:
    text = section(card_of(result, "me/net"), "Before and after")
    assert "**There is no control**: the compact network was fine-tuned for 1 epoch" in text


def test_a_metric_with_a_control_is_held_against_it(result: dict[str, Any]) -> None:
    last = result["accuracy"]["steps"][-1]["value"]
    text = section(card_of(result, "me/net", About(control=last + 2.5)), "Before and after")
    assert (
        f"| *Control:* the dense network, trained equally | {last + 2.5:.1f}\u202f% |  | −2.5 points |"
        in text
    )
    assert "no control" not in text


def test_the_headline_claims_no_more_than_its_control(result: dict[str, Any]) -> None:
    last = result["accuracy"]["steps"][-1]["value"]
    assert "(no control: see below)" in card_of(result, "me/net").split("\n## ")[0]
    text = card_of(result, "me/net", About(control=last - 1)).split("\n## ")[0]
    assert "(+1.0 points against the dense network trained equally)" in text


def test_without_training_the_dense_network_is_the_control(result: dict[str, Any]) -> None:
    result["training"] = []
    text = section(card_of(result, "me/net"), "Before and after")
    assert "Nothing was trained after the removal, so the dense network as it was is the control." in text


def test_without_a_dense_network_there_is_no_control(result: dict[str, Any]) -> None:
    result["accuracy"]["steps"] = [{"step": "after the rounds", "value": 90.0, "loss": None}]
    text = section(card_of(result, "me/net"), "Before and after")
    assert "no dense one was trained" in text


def test_what_was_not_measured_is_not_claimed(result: dict[str, Any]) -> None:
    result |= {"accuracy": None, "latency": []}
    text = card_of(result, "me/net")
    assert "**Accuracy was not measured**" in text and "Latency was not measured." in text
    assert "accuracy not measured" in text.split("\n## ")[0]
    assert "model-index" not in text and "pipeline_tag" not in text


def test_random_weights_are_told(result: dict[str, Any]) -> None:
    assert result["model"]["random"]
    result["training"] = []
    assert "**Its weights are random**" in section(card_of(result, "me/net"), "Limits")
    result["model"]["random"] = False
    assert "weights are random**" not in card_of(result, "me/net")


def test_an_inexact_removal_is_told(result: dict[str, Any]) -> None:
    result["verification"] |= {"exact": False, "relative": 0.25}
    assert "The removal is inexact" in section(card_of(result, "me/net"), "Limits")


def test_it_is_loaded_in_three_lines(result: dict[str, Any]) -> None:
    block = section(card_of(result, "me/net"), "How to load it").split("```")[1]
    lines = block.splitlines()[1:]
    assert lines == [
        "import prunus, torch  # pip install 'prunus[hub]'",
        'model = prunus.from_pretrained("me/net")  # revision= pins a commit',
        "outputs = model(torch.randn(1, 1, 8, 8))",
    ]
    alone = section(card_of(result, "me/net", About(alone=False)), "How to load it")
    assert 'from_pretrained("me/net", build=build_dense)' in alone and "no code comes from a file" in alone


def test_widths_are_told_layer_by_layer_and_many_are_folded(result: dict[str, Any]) -> None:
    few = section(card_of(result, "me/net"), "What was pruned")
    assert "| `conv1` | 20 | 10 |" in few and "<details>" not in few
    result["layers"] *= 10
    many = section(card_of(result, "me/net"), "What was pruned")
    assert f"<details><summary>All {len(result['layers'])} layers</summary>" in many


def test_texts_of_others_are_no_markup(result: dict[str, Any]) -> None:
    result["notes"] = ["<script>a|b</script> [x](http://y)\n# z"]
    result["layers"][0]["name"] = "a`|b"
    text = card_of(result, "me/net")
    assert "<script>" not in text and "\n# z" not in text and "| `a/b` |" in text


@pytest.mark.parametrize("control", [float("nan"), float("inf")])
def test_a_control_is_a_number(control: float) -> None:
    with pytest.raises(HubError, match="control is the metric of the dense network"):
        About(control=control)


def test_the_command_is_there_without_its_paths(result: dict[str, Any]) -> None:
    assert "prunus prune lenet5 --data digits --rate 0.5 -o out" in section(
        card_of(result, "me/net"), "How it was made"
    )


def test_nothing_in_a_result_is_markup_or_moves_a_cursor(result: dict[str, Any]) -> None:
    """Versions, notes on the metric and scores stood in the card as they were."""

    def marked(value: Any) -> Any:
        if isinstance(value, str):
            return f"{value}\x1b[31m<img src=x onerror=y>\u202e`"
        if isinstance(value, dict):
            return {key: marked(one) for key, one in value.items()}
        return [marked(one) for one in value] if isinstance(value, list) else value

    text = card_of(marked(result), "a/b", About(alone=False))
    assert not any(mark in text for mark in "\x1b\u202e")
    outside = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text.split("---\n", 2)[2], flags=re.M | re.S)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", outside)


def test_a_name_is_shown_as_it_is_where_it_is_code(result: dict[str, Any]) -> None:
    result["model"]["name"], result["command"] = "my_nets:Unet_[2]*", "prunus prune 'a_b*[1]' \\ -o x"
    text = card_of(result, "a/b", About(alone=False))
    assert "`my_nets:Unet_[2]*`" in text and "```\nprunus prune 'a_b*[1]' \\ -o x\n```" in text


class Texts(nn.Module):
    """Takes numbers of words by name."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first, self.last = nn.Embedding(50, 8), nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        features = torch.relu(self.first(self.words(ids)))
        return self.last((features * weights[..., None]).mean(1))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {"ids": torch.zeros(1, 5, dtype=torch.int64), "weights": torch.zeros(1, 5)},
            "model(ids=torch.zeros(1, 5, dtype=torch.int64), weights=torch.randn(1, 5))",
        ),
        (
            (torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1, 5)),
            "model(torch.zeros(1, 5, dtype=torch.int64), torch.randn(1, 5))",
        ),
    ],
)
def test_the_network_is_called_as_it_is(
    result: dict[str, Any], tmp_path: Path, inputs: Any, said: str
) -> None:
    """Text was to be called with one tensor of random numbers, which no embedding takes."""
    model = Texts().eval()
    graph = prunus.trace(model, inputs)
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    prunus.save(small, tmp_path / "a.safetensors")
    call = _call(tmp_path / "a.safetensors")
    assert call == said
    assert f"outputs = {said}\n" in card_of(result, "me/net", About(call=call))
    assert eval(call, {"model": small, "torch": torch}).shape == (1, 2)
