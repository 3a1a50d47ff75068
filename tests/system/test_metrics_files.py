"""The alert rules and the Grafana dashboard of contrib/: PromQL that parses, of families and labels that the API and a consumer really
tell, and every alert with its words in the docs."""
import json
import re

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.system.stack import ROOT, module, wait_until
from tests.system.test_metrics import LISTEN, PARTS, consumer_page, of, consumer_metrics

RULES = ROOT / "contrib" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "contrib" / "grafana" / "longhaul.json"
SCRAPED = {"instance", "job"}  # labels that Prometheus gives


@pytest.fixture(scope="module")
def rules():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels_of(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(rules, dashboard):
    """(whose, PromQL) of both files; Grafana's variables stand for something of their kind."""
    found = [(rule["alert"], rule["expr"]) for rule in rules]
    for panel in panels_of(dashboard):
        found += [(panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$service", ".*")) for target in panel["targets"]]
    return found


def kinds_and_labels(pages):
    """name -> (type, label names) of every family that the pages tell with a sample."""
    found = {}
    for page in pages:
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
        for family in text_string_to_metric_families(page):
            name = family.name if family.name in kinds else f"{family.name}_total"
            labels = {label for sample in family.samples for label in sample.labels}
            found[name] = (kinds[name], labels if family.samples else None)
    return found


@pytest.fixture
def families(make_stack):
    """Of a stack in which everything that is counted has happened where that makes labels."""
    stack = make_stack(services={"echo": module("echo")})
    consumer = stack.start_consumer(config=LISTEN)
    stack.wait_final(stack.create())
    wait_until(lambda: of(consumer_metrics(consumer), "runs_ended_total", service="echo", outcome="finished") == 1, "for the run to be counted")
    api = stack.request("GET", "/metrics").body.decode()
    return kinds_and_labels([api, consumer_page(consumer).body.decode()])


# Families that have samples with Kafka alone, which tests/system/test_metrics.py looks at.
KAFKA = {"longhaul_kafka_up": set(), "longhaul_outbox_messages": set(), "longhaul_outbox_oldest_seconds": set(),
         "longhaul_consumer_kafka_lag": {"group", "topic", "partition"}}


def selectors(expression):
    """Every vector selector of the expression with the function that it stands in, and every list of labels."""
    found, lists = [], []

    def look(node, function=None):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node, function))
        elif isinstance(node, promql_parser.MatrixSelector):
            look(node.vector_selector, function)
        elif isinstance(node, promql_parser.Call):
            for arg in node.args:
                look(arg, node.func.name)
        elif isinstance(node, promql_parser.AggregateExpr):
            if node.modifier:
                lists.append(set(node.modifier.labels))
            look(node.expr)
        elif isinstance(node, promql_parser.BinaryExpr):
            look(node.lhs)
            look(node.rhs)
        elif isinstance(node, (promql_parser.ParenExpr, promql_parser.UnaryExpr, promql_parser.SubqueryExpr)):
            look(node.expr, function)
        else:
            assert isinstance(node, (promql_parser.NumberLiteral, promql_parser.StringLiteral)), node
    look(promql_parser.parse(expression))
    return found, lists


def family_of(name, families):
    """The family of a series: a histogram has three kinds of them."""
    for part in PARTS:
        base = name.removesuffix(part)
        if base != name and families.get(base, ("",))[0] == "histogram":
            return base, part
    return name, ""


def test_every_expression_is_of_what_is_told(rules, dashboard, families):
    used = set()
    for whose, expression in expressions(rules, dashboard):
        known = set(SCRAPED)
        found, lists = selectors(expression)
        assert found, whose
        for selector, function in found:
            name, part = family_of(selector.name, families)
            assert name in families, f"{whose}: nobody tells {selector.name}"
            kind, labels = families[name]
            if labels is None:
                labels = KAFKA[name]
            assert (kind == "histogram") == bool(part), f"{whose}: {selector.name} is a {kind}"
            grows = kind in ("counter", "histogram")
            assert grows == (function in ("rate", "increase")), f"{whose}: {function}({selector.name}), which is a {kind}"
            known |= labels | ({"le"} if part == "_bucket" else set())
            for matcher in selector.matchers.matchers:
                assert matcher.name in labels | SCRAPED, f"{whose}: {name} has no label {matcher.name}"
            used.add(name)
        for labels in lists:
            assert labels <= known, f"{whose}: nothing has the labels {labels - known}"
    told = {name for name in families if name.startswith("longhaul_")}
    assert told - used <= {"longhaul_tasks_removed_total", "longhaul_consumer_api_last_success_timestamp_seconds"}, \
        f"neither looked at nor shown: {told - used}"


def test_what_does_not_exist_would_be_found(rules, dashboard, families):
    families.pop("longhaul_tasks_finished_total")
    with pytest.raises(AssertionError, match="nobody tells longhaul_tasks_finished_total"):
        test_every_expression_is_of_what_is_told(rules, dashboard, families)


def test_every_alert_says_what_it_is_and_stands_in_the_docs(rules):
    page = (ROOT / "docs" / "metrics.md").read_text()
    alerts = page[page.index("## Alerts"):]
    names = [rule["alert"] for rule in rules]
    assert re.findall(r"^### (\w+)$", alerts, re.M) == names
    assert len(set(names)) == len(names)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning") and rule["annotations"]["summary"], rule["alert"]


def test_the_legends_name_labels_of_their_expressions(dashboard, families):
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$service", ".*")
            found, lists = selectors(expression)
            labels = SCRAPED.union(*lists) if lists else SCRAPED.union(
                *(families[family_of(selector.name, families)[0]][1] or KAFKA.get(selector.name, set()) for selector, _ in found))
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert named <= labels, f"{panel['title']}: {named - labels}"


def test_the_dashboard_is_whole(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
    for panel in panels_of(dashboard):
        assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}, panel["title"]
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "service"}
