"""The form of the editor as its template shows it: choices, words of the sentences, and the error of a field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.alerts.kinds.comparison import Operator
from appliance.alerts.kinds.threshold import MOST_CONDITIONS
from appliance.devices.metrics.metric import Metric
from appliance.severity import Severity
from appliance.web.page.faults import Fault
from appliance.web.rules.form import BOOLEANS, TEXTS, UNITS, Given, MetricTypes
from appliance.web.rules.labels import AGGREGATES, KINDS

KIND_CHOICES: Sequence[tuple[str, str]] = tuple((kind.value, label) for kind, label in KINDS.items())
SEVERITIES: Sequence[tuple[str, str, str]] = (
    (Severity.CRITICAL.value, "g-crit", "Critical"),
    (Severity.HIGH.value, "g-high", "High"),
    (Severity.MEDIUM.value, "g-medium", "Medium"),
    (Severity.LOW.value, "g-low", "Low"),
    (Severity.INFO.value, "g-info", "Info"),
)
ORDERED: Sequence[tuple[str, str]] = (
    (Operator.GT.value, "is above"),
    (Operator.GTE.value, "is at or above"),
    (Operator.LT.value, "is below"),
    (Operator.LTE.value, "is at or below"),
)
EQUAL: Sequence[tuple[str, str]] = ((Operator.EQ.value, "is"), (Operator.NE.value, "is not"))
CLEAR_WORDS: Mapping[str, str] = {
    Operator.GT.value: "is at or below",
    Operator.GTE.value: "is below",
    Operator.LT.value: "is at or above",
    Operator.LTE.value: "is above",
}
SENTENCES: Mapping[str, str] = {
    "name": "Name",
    "kind": "Kind",
    "clear_value": "Close it when",
    "clear_for": "Close it when",
    "which": "On",
    "sites": "Sites",
    "tags": "Tags",
    "prefixes": "Devices starting with",
    "devices": "Single devices",
    "severity": "With severity",
    "description": "Description",
}
"""The sentence that a control stands in; all others are in the first one."""
FIRST_SENTENCE = "Open an alert when"


@dataclass(frozen=True, slots=True)
class EditorForm:
    """Everything that the template of the form shows."""

    given: Given
    fault: Fault | None
    action: str
    preview_at: str
    delete_at: str | None
    known: Mapping[str, Metric]
    """The metrics of the tenant, in order."""
    types: MetricTypes
    sites: Sequence[tuple[str, str]]
    built_in: bool
    fresh: bool
    """Whether the preview does not show this form yet."""

    kinds = KIND_CHOICES
    severities = SEVERITIES
    aggregates = tuple(AGGREGATES.items())
    units = tuple(UNITS)

    @property
    def sentence(self) -> str:
        """Return the sentence of the field in error; empty if the error is no field's."""
        if self.fault is None or not self.fault[0]:
            return ""
        return SENTENCES.get(self.fault[0], FIRST_SENTENCE)

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """Return the metrics to choose from; one that is not known but chosen stays."""
        found = {name: metric.title for name, metric in self.known.items()}
        chosen = [self.given.get("metric"), *(row.get("metric", "") for row in self.given.conditions)]
        found |= {name: name for name in chosen if name and name not in found}
        return [("", "Choose a metric"), *found.items()]

    @property
    def missing_metrics(self) -> list[tuple[str, str]]:
        """Return the metrics whose absence can be a silence."""
        return [(name, f"no {title}") for name, title in self.metrics if name]

    @property
    def booleans(self) -> set[str]:
        """Return the metrics that are true or false."""
        return {name for name, found in self.types.items() if set(found) == BOOLEANS}

    @property
    def texts(self) -> set[str]:
        """Return the metrics that are text."""
        return {name for name, found in self.types.items() if set(found) == TEXTS}

    def comparisons(self, metric: str) -> Sequence[tuple[str, str]]:
        """Return the comparisons that a metric can be judged by."""
        return EQUAL if metric in self.booleans | self.texts else (*ORDERED, *EQUAL)

    @property
    def operators(self) -> Sequence[tuple[str, str]]:
        """Return the comparisons of the first sentence."""
        return self.comparisons(self.given.get("metric"))

    @property
    def operator(self) -> str:
        """Return the comparison that is chosen, the first if the chosen one is none of the metric's."""
        chosen, choices = self.given.get("operator"), [value for value, _ in self.operators]
        return chosen if chosen in choices else choices[0]

    @property
    def ordered(self) -> bool:
        """Return whether the comparison has a side to clear at."""
        return self.operator in CLEAR_WORDS

    @property
    def clear_words(self) -> str:
        """Return how the sentence of the way back goes on."""
        return CLEAR_WORDS.get(self.operator, "is something else")

    @property
    def unit(self) -> str:
        """Return the unit of the chosen metric."""
        return self.unit_of(self.given.get("metric"))

    def unit_of(self, metric: str) -> str:
        """Return the unit of a metric; empty without one."""
        known = self.known.get(metric)
        return "" if known is None else known.unit or ""

    @property
    def metric_words(self) -> str:
        """Return the chosen metric as it stands in a sentence."""
        known = self.known.get(self.given.get("metric"))
        if known is None or not known.label:
            return self.given.get("metric") or "it"
        return known.label[:1].lower() + known.label[1:] if known.label[1:2].islower() else known.label

    @property
    def room(self) -> int:
        """Return how many further conditions can be added."""
        return MOST_CONDITIONS - len(self.given.conditions)
