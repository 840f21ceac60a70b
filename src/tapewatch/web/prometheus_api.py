"""The Prometheus HTTP API, so that Grafana, promtool and client packages work with no change."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapewatch._version import __version__
from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.clock import DAY, SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.model.errors import QueryError, QueryExecutionError, QueryLimitError, StorageError
from tapewatch.model.labels import Labels
from tapewatch.promql import parse, selectors
from tapewatch.series.querier import Matcher
from tapewatch.web.facade import RuleGroupView, RuleView, Service
from tapewatch.web.own_api import unix_or_iso_ns
from tapewatch.web.prometheus_json import (
    envelope,
    exponent_text,
    iso_time,
    labels_json,
    result_json,
)
from tapewatch.web.responses import JSON, json_bytes, json_response

PREFIX = "/api/v1/"
READ_POSTS = frozenset(PREFIX + name for name in ("query", "query_range", "series", "labels"))
"""POST routes that only read: clients send long queries this way."""

MAX_POINTS = 11_000
COMPATIBLE_VERSION = "3.5.0"
"""Clients choose their requests by this: the Prometheus whose API and PromQL we speak."""

_QUERY_THREADS = 4
_MAX_WAITING = 32
_EARLIEST_NS = -(1 << 62)
_LATEST_NS = 1 << 62
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_STATUS = {
    "bad_data": 400,
    "not_found": 404,
    "execution": 422,
    "internal": 500,
    "timeout": 503,
    "unavailable": 503,
}

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class ApiError(Exception):
    """A refusal in Prometheus's terms: one of its error kinds and a text."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def is_prometheus(request: Request) -> bool:
    """Tell whether errors on this path take Prometheus's shape."""
    path: str = request.scope["path"]
    return path.startswith(PREFIX)


def prometheus_error(status: int, kind: str, message: str) -> Response:
    """Answer with an error in Prometheus's shape."""
    return json_response({"status": "error", "errorType": kind, "error": message}, status)


def prometheus_routes(service: Service) -> list[Route]:
    """Return the routes under ``/api/v1/``."""
    api = _Api(service)
    both = ["GET", "POST"]
    table: list[tuple[str, Handler, list[str]]] = [
        ("query", api.query, both),
        ("query_range", api.query_range, both),
        ("series", api.series, both),
        ("labels", api.labels, both),
        ("label/{name}/values", api.label_values, ["GET"]),
        ("rules", api.rules, ["GET"]),
        ("alerts", api.alerts, ["GET"]),
        ("status/buildinfo", api.build_info, ["GET"]),
    ]
    return [Route(PREFIX + path, _translated(h), methods=m) for path, h, m in table]


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = anyio.CapacityLimiter(_QUERY_THREADS)
        self._waiting = 0

    async def query(self, request: Request) -> Response:
        form = await _Form.of(request)
        now_ns = self._service.now_ns()
        text = _checked_query(form)
        at_ns = form.time("time", now_ns)
        result = await self._in_thread(self._service.query, text, at_ns)
        body = await self._in_thread(result_json, result, at_ns)
        return _answer(envelope(body, result.warnings, result.infos))

    async def query_range(self, request: Request) -> Response:
        form = await _Form.of(request)
        start_ns = form.time("start")
        end_ns = form.time("end")
        if end_ns < start_ns:
            raise _invalid("end", "end timestamp must not be before start time")
        step_ns = form.step("step")
        if (end_ns - start_ns) // step_ns > MAX_POINTS:
            raise ApiError(
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        text = _checked_query(form)
        result = await self._in_thread(self._service.query_range, text, start_ns, end_ns, step_ns)
        body = await self._in_thread(result_json, result, end_ns)
        return _answer(envelope(body, result.warnings, result.infos))

    async def series(self, request: Request) -> Response:
        form = await _Form.of(request)
        sets = form.matchers(required=True)
        start_ns, end_ns = form.window()
        querier = self._service.querier

        def find() -> list[Labels]:
            return sorted({s for m in sets for s in querier.series(m, start_ns, end_ns)})

        found, warnings = form.limited(await self._in_thread(find))
        return _answer(envelope("[" + ",".join(map(labels_json, found)) + "]", warnings))

    async def labels(self, request: Request) -> Response:
        form = await _Form.of(request)
        sets = form.matchers()
        form.window()
        querier = self._service.querier

        def find() -> list[str]:
            return sorted({n for m in sets or [()] for n in querier.label_names(m)})

        return _texts(*form.limited(await self._in_thread(find)))

    async def label_values(self, request: Request) -> Response:
        form = await _Form.of(request)
        name: str = request.path_params["name"]
        if not _LABEL_NAME.fullmatch(name):
            raise ApiError("bad_data", f'invalid label name: "{name[:128]}"')
        sets = form.matchers()
        form.window()
        querier = self._service.querier

        def find() -> list[str]:
            return sorted({v for m in sets or [()] for v in querier.label_values(name, m)})

        return _texts(*form.limited(await self._in_thread(find)))

    async def rules(self, request: Request) -> Response:
        form = await _Form.of(request)
        wanted = form.get("type")
        if wanted not in (None, "", "alert", "record"):
            raise ApiError("bad_data", f'invalid query parameter type="{wanted[:64]}"')
        names, groups, files = (set(form.all(k)) for k in ("rule_name[]", "rule_group[]", "file[]"))
        with_alerts = form.get("exclude_alerts", "") not in ("true", "1")
        shown = []
        for group in self._service.rule_groups():
            if (groups and group.name not in groups) or (files and group.file not in files):
                continue
            rules = [
                rule_json(rule, with_alerts=with_alerts)
                for rule in group.rules
                if (not names or rule.name in names)
                and (not wanted or rule.alerting is (wanted == "alert"))
            ]
            if rules or not (names or wanted):
                shown.append(_group_json(group, rules))
        return _answer(envelope(json_bytes({"groups": shown}).decode()))

    async def alerts(self, request: Request) -> Response:
        shown = [
            alert_json(alert)
            for group in self._service.rule_groups()
            for rule in group.rules
            for alert in rule.alerts
        ]
        return _answer(envelope(json_bytes({"alerts": shown}).decode()))

    async def build_info(self, request: Request) -> Response:
        info = {
            "application": "Tapewatch",
            "applicationVersion": __version__,
            "version": COMPATIBLE_VERSION,
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        }
        return _answer(envelope(json_bytes(info).decode()))

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run what may take time beside the event loop; refuse when too much waits already."""
        if self._waiting >= _MAX_WAITING:
            raise ApiError("unavailable", "too many queries at once, try again in a few seconds")
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(
                functools.partial(work, *args), limiter=self._threads
            )
        finally:
            self._waiting -= 1


class _Form:
    """The parameters of a request: the query string, and the form of a POST."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    async def of(cls, request: Request) -> _Form:
        pairs: list[tuple[str, str]] = []
        if request.method == "POST":
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/x-www-form-urlencoded":
                raise ApiError(
                    "bad_data",
                    f'expected Content-Type application/x-www-form-urlencoded, found "{kind[:64]}"',
                )
            try:
                text = (await request.body()).decode("utf-8")
                pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=1000)
            except ValueError as error:
                raise ApiError("bad_data", f"error parsing form values: {error}") from None
        pairs += request.query_params.multi_items()
        return cls(pairs)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def get(self, name: str, default: str | None = None) -> str | None:
        values = self._values.get(name)
        return values[0] if values else default

    def time(self, name: str, default_ns: int | None = None) -> int:
        text = self.get(name)
        if not text and default_ns is not None:
            return default_ns
        try:
            return unix_or_iso_ns(text or "")
        except (ValueError, OverflowError):
            shown = (text or "")[:64]
            raise _invalid(name, f'cannot parse "{shown}" to a valid timestamp') from None

    def step(self, name: str) -> int:
        text = self.get(name) or ""
        try:
            try:
                step_ns = round(float(text) * SECOND)
            except ValueError:
                step_ns = parse_duration(text)
        except (ValueError, OverflowError):
            raise _invalid(name, f'cannot parse "{text[:64]}" to a valid duration') from None
        if step_ns <= 0:
            raise _invalid(
                name,
                "zero or negative query resolution step widths are not accepted. "
                "Try a positive integer",
            )
        if step_ns > 100 * 365 * DAY:
            raise _invalid(name, f'cannot parse "{text[:64]}" to a valid duration')
        return step_ns

    def window(self) -> tuple[int, int]:
        return self.time("start", _EARLIEST_NS), self.time("end", _LATEST_NS)

    def matchers(self, *, required: bool = False) -> list[Sequence[Matcher]]:
        texts = self.all("match[]")
        if required and not texts:
            raise ApiError("bad_data", "no match[] parameter provided")
        return [_selector(text) for text in texts]

    def limited(self, found: list[T]) -> tuple[list[T], list[str]]:
        text = self.get("limit") or "0"
        if not (text.isascii() and text.isdigit()):
            raise _invalid("limit", "limit must be non-negative")
        limit = int(text[:12])
        if limit and len(found) > limit:
            return found[:limit], ["results truncated due to limit"]
        return found, []


def _selector(text: str) -> Sequence[Matcher]:
    try:
        found = selectors(parse(text))
    except QueryError as error:
        raise _invalid("match[]", str(error)) from None
    if len(found) != 1:
        raise _invalid("match[]", f'expected one series selector, found "{text[:128]}"')
    matchers: Sequence[Matcher] = found[0].matchers
    return matchers


def _checked_query(form: _Form) -> str:
    """Return the query if it can be parsed, so that later failures are the evaluation's."""
    text = form.get("query") or ""
    try:
        parse(text)
    except QueryError as error:
        raise _invalid("query", str(error)) from None
    return text


def _translated(handler: Handler) -> Handler:
    async def translated(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as error:
            kind, message = error.kind, error.message
        except QueryLimitError as error:
            kind = "timeout" if "time" in error.message else "execution"
            message = str(error)
        except QueryExecutionError as error:
            kind, message = "execution", str(error)
        except QueryError as error:
            kind, message = "bad_data", str(error)
        except StorageError as error:
            kind, message = "internal", error.message
        return prometheus_error(_STATUS[kind], kind, message)

    return translated


def _invalid(name: str, message: str) -> ApiError:
    return ApiError("bad_data", f'invalid parameter "{name}": {message}')


def _answer(body: bytes) -> Response:
    return Response(body, media_type=JSON)


def _texts(found: list[str], warnings: list[str]) -> Response:
    return _answer(envelope(json_bytes(found).decode(), warnings))


def alert_json(alert: Alert) -> Mapping[str, Any]:
    """Return an alert in Prometheus's shape; unknown shows as firing with an annotation."""
    annotations = dict(alert.annotations)
    state = alert.state
    if state is AlertState.UNKNOWN:
        annotations["tapewatch_state"] = "unknown: the series that fed this alert vanished"
        state = AlertState.FIRING
    return {
        "labels": alert.labels.as_dict(),
        "annotations": annotations,
        "state": state,
        "activeAt": iso_time(alert.active_at_ns),
        "value": exponent_text(alert.value),
    }


def rule_json(rule: RuleView, *, with_alerts: bool = True) -> Mapping[str, Any]:
    """Return a rule in Prometheus's shape."""
    shown: dict[str, Any] = {"name": rule.name, "query": rule.query}
    if rule.alerting:
        states = {a.state for a in rule.alerts}
        shown |= {
            "state": (
                "firing"
                if states & {AlertState.FIRING, AlertState.UNKNOWN}
                else ("pending" if AlertState.PENDING in states else "inactive")
            ),
            "duration": rule.for_ns / SECOND,
            "keepFiringFor": rule.keep_firing_for_ns / SECOND,
            "labels": dict(rule.labels),
            "annotations": dict(rule.annotations),
            "alerts": [alert_json(a) for a in rule.alerts] if with_alerts else [],
        }
    elif rule.labels:
        shown["labels"] = dict(rule.labels)
    if rule.last_error:
        shown["lastError"] = rule.last_error
    never = rule.evaluated_at_ns is None
    return shown | {
        "health": "err" if rule.last_error else ("unknown" if never else "ok"),
        "evaluationTime": rule.evaluation_ns / SECOND,
        "lastEvaluation": iso_time(rule.evaluated_at_ns),
        "type": "alerting" if rule.alerting else "recording",
    }


def _group_json(group: RuleGroupView, rules: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": group.interval_ns / SECOND,
        "limit": group.limit,
        "evaluationTime": group.evaluation_ns / SECOND,
        "lastEvaluation": iso_time(group.evaluated_at_ns),
    }
