"""The benchmark of renewals: which messages count as alone, and which as on their way during one."""

from benchmarks.renewals import Renewal, lines, split


def test_messages_are_told_by_whether_a_renewal_was_under_way() -> None:
    renewals = [Renewal(asked=10.0, committed=10.3, answered=10.5), Renewal(asked=20.0, committed=20.1, answered=20.5)]
    published = [8.0, 9.0, 9.9, 10.4, 12.0, 20.2]
    waits = [0.02, 0.03, 0.4, 0.1, 5.0, 0.06]
    result = split(published, waits, renewals)
    assert result.alone == [[0.02], [0.03]]
    assert result.beside == [[0.4, 0.1], [0.06]]
    found = {line.name: line for line in lines(result)}
    assert found["renewal asked to committed, ms"].value == "200"
    assert found["the longest during a renewal, ms"].value == "230"
    assert found["difference of the medians, ms"].value == "205"
