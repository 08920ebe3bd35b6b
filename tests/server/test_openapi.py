"""No request made from the schema, valid or not, gets a 5xx."""

from collections import Counter
from contextlib import suppress

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from served import running

EXAMPLES = 5  # of a route and mode
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_no_request_of_the_schema_breaks_the_server(make) -> None:
    tried: Counter[int] = Counter()

    def check(case: schemathesis.Case) -> None:
        response = case.call()
        tried[response.status_code] += 1
        case.validate_response(response, checks=[not_a_server_error])

    with running(make()) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        for found in schema.get_all_operations():
            for mode in GenerationMode:
                strategy = found.ok().as_strategy(generation_mode=mode)
                with suppress(Unsatisfiable):  # nothing is wrong with a request of nothing
                    SETTINGS(hypothesis.given(case=strategy)(check))()
    assert tried[200] > EXAMPLES and tried[400] > EXAMPLES
