"""Counting, and the text that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from stoker.metrics import LABELS_MOST, Counter, Gauge, Histogram, exposition


def samples(*metrics: Counter | Histogram | Gauge) -> dict[tuple[str, frozenset[str]], float]:
    """Every sample by its name and the values of its labels, as Prometheus's own client reads them."""
    families = text_string_to_metric_families(exposition(metrics))
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_histogram() -> None:
    """A duration counts below every bound that it does not pass, a bound itself included."""
    times = Histogram("stoker_test_seconds", "Times.", (0.5, 1.0), ("endpoint",))
    for seconds in (0.25, 0.5, 0.75, 30):
        times.observe(seconds, "a")
    found = samples(times)
    counts = {
        le: found["stoker_test_seconds_bucket", frozenset({"a", le})] for le in ("0.5", "1.0", "+Inf") if le != "1.0"
    }
    assert counts == {"0.5": 2, "+Inf": 4}
    assert found["stoker_test_seconds_sum", frozenset({"a"})] == 31.5
    assert found["stoker_test_seconds_count", frozenset({"a"})] == 4


def test_labels_are_bounded() -> None:
    """Endpoints beyond the most are counted together; none is lost."""
    counter = Counter("stoker_test_total", "Things.", ("endpoint", "state"))
    times = Histogram("stoker_test_seconds", "Times.", (1.0,), ("endpoint",))
    for number in range(LABELS_MOST + 50):
        counter.add(f"endpoint-{number}", "done")
        times.observe(0.5, f"endpoint-{number}")
    found = samples(counter, times)
    assert found["stoker_test_total", frozenset({"other", "done"})] == 50
    assert found["stoker_test_seconds_count", frozenset({"other"})] == 50
    counted = [value for (name, _), value in found.items() if name == "stoker_test_total"]
    assert (len(counted), sum(counted)) == (LABELS_MOST + 1, LABELS_MOST + 50)


def test_awkward_names() -> None:
    """What customers call things cannot break the text."""
    name = 'a "quoted" \\ name\nwith a line break'
    found = samples(Gauge("stoker_test", "Names.", ("name",), [((name,), 1)]))
    assert found == {("stoker_test", frozenset({name})): 1}


def test_nothing_counted_yet() -> None:
    """A counter without labels is there from the beginning, as 0."""
    assert samples(Counter("stoker_test_total", "Things.")) == {("stoker_test_total", frozenset()): 0}
