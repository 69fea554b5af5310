"""The id of a request is in its answer and in the log; a caller may choose it."""

import pytest

from appliance.web.http.cookies import SESSION
from appliance.web.http.request_id import HEADER, request_id
from tests.support.web.accounts import http_client
from tests.support.web.serving import without_database


@pytest.mark.parametrize("chosen", ["7f9c24e8", "order-7.4_b", "x" * 64])
def test_an_id_that_fits_is_taken(chosen: str) -> None:
    assert request_id(chosen) == chosen


@pytest.mark.parametrize("chosen", [None, "", "short", "x" * 65, "two words", "line\nbreak", "<script>", "ä" * 8])
def test_any_other_is_replaced(chosen: str | None) -> None:
    made = [request_id(chosen), request_id(chosen)]
    assert [len(one) for one in made] == [16, 16]
    assert len({chosen, *made}) == 3


async def test_every_answer_has_it_and_so_has_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async with without_database() as served, http_client(headers={HEADER: "from-the-caller"}) as caller:
        for path in ("/", "/nothing", "/healthz", "/customer/devices", "/static/none.css"):
            answer = await caller.get(served.url + path)
            assert answer.headers.get_list(HEADER) == ["from-the-caller"], path
        others = [(await caller.get(f"{served.url}/healthz", headers={HEADER: "?"})).headers[HEADER] for _ in range(2)]
        assert len(set(others) | {"?"}) == 3
        capsys.readouterr()
        await caller.get(f"{served.url}/customer/devices", headers={"Cookie": f"{SESSION.name}=x"})
    assert "from-the-caller" in capsys.readouterr().out
