"""Figures of the docs, computed anew from kept rows.

`figures.toml` says for every figure where it stands and what it is. A value is a table:

* `of`: the path to a number in a row, such as `latency/ONNX Runtime/pruned int8/speedup`; in a list, a step
  is a number or `name=value;…`;
* `minus`, `per`: paths to what is taken away from it, or what it is divided by, in the same row; or, with
  `other`, in the row of the same seed and kind that `other` selects;
* `rest = true`: one minus that; `times`: a factor at the end;
* `where`: keys and values (or lists of values) by which its rows are known, in place of the figure's own;
  `"large"` is the part of that name of a result;
* `among`: `mean` of the rows (the default), `spread` (mean ± standard deviation), `min`, `max`, `median`,
  `count` (of the rows), or `above` (how many of the rows have more than `limit`);
* `form`: how the number is written, `.1f` for example;
* `between = [low, high]`: for figures in words, the bounds that keep the words true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, median, stdev
from typing import Any

from benchmarks.environment import RESULTS
from benchmarks.rows import ALL, Record, Row, kept

AMONG: dict[str, Callable[[list[float]], float]] = {
    "mean": mean,
    "min": min,
    "max": max,
    "median": median,
    "count": len,
}
PAIRED = ("seed", "network", "rate", "stage_epochs")
Where = dict[str, Any] | str


@dataclass(frozen=True)
class Value:
    """How a figure comes from rows; the attributes are those of the table in `figures.toml`."""

    result: str
    where: Where
    of: str = ""
    minus: str = ""
    per: str = ""
    other: Where | None = None
    rest: bool = False
    times: float = 1.0
    among: str = "mean"
    form: str = ".2f"
    between: tuple[float, float] | None = None
    limit: float = 0.0

    def rows(self) -> list[Row]:
        """The rows that it is of."""
        return selected(self.result, self.where)

    def numbers(self) -> list[float]:
        """One number for each row."""
        return [self._number(row) for row in self.rows()]

    def text(self) -> str:
        """As the docs write it."""
        found = self.numbers()
        if self.among == "spread":
            return f"{mean(found):{self.form}} ± {stdev(found):{self.form.lstrip('+')}}"
        return f"{self.number():{self.form}}"

    def number(self) -> float:
        """Of all rows together."""
        found = self.numbers()
        if self.among == "above":
            return sum(one > self.limit for one in found)
        return AMONG["mean" if self.among == "spread" else self.among](found)

    def records(self) -> list[Record]:
        """Of the parts of rows that it is read from: what is measured later has its own, all the rest has the
        first.
        """
        rows = [*self.rows(), *(selected(self.result, self.other) if self.other is not None else [])]
        paths = [path.split("/")[0] for path in (self.of, self.minus, self.per) if path] or [ALL]
        return [how for row in rows for path in paths for how in _records(row, path)]

    def words(self) -> str:
        """How it is computed, for a reader."""
        inner = f"{self.of} − {self._from(self.minus)}" if self.minus else self.of or "rows"
        inner = (f"({inner})" if self.minus else inner) + f" / {self._from(self.per)}" if self.per else inner
        inner = f"1 − {inner}" if self.rest else inner
        how = {
            "mean": "",
            "spread": "mean ± deviation of ",
            "above": f"how many exceed {self.limit:g}: ",
            "count": "number of ",
        }
        return how.get(self.among, f"{self.among} of ") + inner

    def _from(self, path: str) -> str:
        return path if self.other is None else f"{path} of {selection(self.other)}"

    def _number(self, row: Row) -> float:
        if not self.of:
            return 1.0
        found = at(row, self.of)
        second = row if self.other is None else _pair(self.result, self.other, row)
        if self.minus:
            found -= at(second, self.minus)
        if self.per:
            found /= at(second, self.per)
        return self.times * (1.0 - found if self.rest else found)


@dataclass(frozen=True)
class Figure:
    """A sentence or line of a document, with `{names}` where figures stand, and what they are."""

    document: str
    text: str
    values: dict[str, Value] = field(default_factory=dict)

    def filled(self) -> str:
        """The text with every figure computed anew."""
        return self.text.format(**{name: value.text() for name, value in self.values.items()})

    def untrue(self) -> list[str]:
        """Values in words that have left their bounds."""
        bounded = [
            (name, value.number(), value.between) for name, value in self.values.items() if value.between
        ]
        return [
            f"{name} is {found:.4g}, not in {bounds}"
            for name, found, bounds in bounded
            if not bounds[0] <= found <= bounds[1]
        ]


def figure(table: dict[str, Any]) -> Figure:
    """From its table in `figures.toml`."""
    values = {}
    for name, one in table.get("values", {}).items():
        where = {"result": table["result"], "where": table.get("where", {})}
        bounds = {"between": tuple(one["between"])} if "between" in one else {}
        values[name] = Value(**where | one | bounds)
    return Figure(table["document"], table["text"], values)


def selected(result: str, where: Where) -> list[Row]:
    """The rows of a result that have these values; at least one."""
    kept_rows = kept(RESULTS / f"{result}.json")
    if isinstance(where, str):
        return [kept_rows[where]]
    found = [
        row for row in kept_rows["rows"] if all(_is(row.get(name), value) for name, value in where.items())
    ]
    if not found:
        raise LookupError(f"{result}.json has no row of {selection(where)}.")
    return found


def _is(found: Any, wanted: Any) -> bool:
    return found in wanted if isinstance(wanted, list) else found == wanted


def selection(where: Where) -> str:
    """What rows are selected by, in words."""
    return (
        where
        if isinstance(where, str)
        else ", ".join(f"{name} {value}" for name, value in where.items()) or "all rows"
    )


def at(row: Any, path: str) -> float:
    """The number at the end of a path."""
    for step in path.split("/"):
        row = _one(row, step) if isinstance(row, list) else row[step]
    return float(row)


def _one(rows: list[Any], step: str) -> Any:
    """An element, by its number or by values of its own."""
    if step.lstrip("-").isdigit():
        return rows[int(step)]
    wanted = dict(part.split("=", 1) for part in step.split(";"))
    (found,) = [row for row in rows if all(str(row.get(name)) == value for name, value in wanted.items())]
    return found


def _pair(result: str, where: Where, row: Row) -> Row:
    """The one that is alike in seed and kind, but for what `where` asks for; the only one, if there is only
    one.
    """
    others = selected(result, where)
    fixed = (
        {name for name, value in where.items() if not isinstance(value, list)}
        if isinstance(where, dict)
        else set()
    )
    alike = [name for name in PAIRED if name not in fixed]
    same = [other for other in others if all(other.get(name) == row.get(name) for name in alike)]
    if len(others) > 1 and len(same) != 1:
        raise LookupError(
            f"{result}.json has {len(same)} rows of {selection(where)} that pair with one of seed"
            f" {row.get('seed')}."
        )
    return same[0] if len(others) > 1 else others[0]


def _records(row: Row, part: str) -> list[Record]:
    """Of a part by its own name; else of the parts that are no keys of the row: what was measured at first,
    and trainings before it.
    """
    measured: dict[str, Record] = row["measured"]
    return (
        [measured[part]] if part in measured else [how for name, how in measured.items() if name not in row]
    )
