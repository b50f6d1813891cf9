import pytest
from compare import ENOUGH, compare


def run(session="requests.sessions.Session", **changed):
    outcomes = {f"test_{number}": "passed" for number in range(ENOUGH)} | {"test_network": "failed"} | changed
    outcomes = {test: outcome for test, outcome in outcomes.items() if outcome is not None}
    failures = {test: f"why {test} failed" for test, outcome in outcomes.items() if outcome == "failed"}
    return {"session": session, "outcomes": outcomes, "failures": failures}


def ours(**changed):
    return run("somewhere.Session", **changed)


def test_the_same_outcomes_are_a_dropin():
    lines, same = compare(run(), ours())

    assert same
    assert lines == ["fails in both: test_network", f"dropin: {ENOUGH} passed, 1 failed in both, 0 differ"]


@pytest.mark.parametrize("outcome", ["failed", "skipped", "xfailed", None])
def test_what_passes_with_requests_alone_is_reported_and_fails(outcome):
    lines, same = compare(run(test_auth="passed"), ours(test_auth=outcome))

    assert not same
    said = f"DIFFERS: test_auth: passed with requests, {outcome or 'not run'} with somewhere.Session"
    assert said in lines
    assert ("why test_auth failed" in lines) == (outcome == "failed")
    assert lines[-1].endswith("1 differ")


def test_what_passes_with_ours_alone_is_reported():
    lines, same = compare(run(), ours(test_network="passed"))

    assert same
    assert "DIFFERS: test_network: failed with requests, passed with somewhere.Session" in lines


def test_too_few_tests_say_nothing():
    lines, same = compare(run(test_0="failed"), ours(test_0="failed"))

    assert not same
    assert lines[-2].startswith("TOO FEW")
