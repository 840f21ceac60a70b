"""Commands that ask a running daemon, each in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tapewatch.record import Recorder
from tapewatch.testing.daemon import eventually

pytestmark = pytest.mark.requirement("S5-85")


class TestStatus:
    @pytest.mark.requirement("S5-33", "S5-65")
    def test_all_well_is_ok_with_the_engine_shown(self, calm) -> None:
        done = calm.run("status")
        assert done.returncode == 0
        first, *rest = done.stdout.splitlines()
        assert first.startswith("TAPEWATCH OK - 0 active alerts; engines: 1 running")
        assert first.endswith("| alerts=0 engines=1")
        assert any(line.startswith("momentum") and "250.00" in line for line in rest)

    @pytest.mark.requirement("S5-33", "S5-95")
    def test_the_exit_code_says_how_bad_it_is(self, live) -> None:
        live.tick(250.0, positions=25)
        live.until_alerts("many_positions")
        assert live.run("status").returncode == 1
        live.tick(-300.0, positions=25)
        live.until_alerts("losing", "many_positions")
        done = live.run("status")
        assert done.returncode == 2
        assert done.stdout.startswith(
            "TAPEWATCH CRITICAL - 2 active alerts (1 CRITICAL, 1 WARNING)"
        )
        assert "P&L of momentum is -300" in done.stdout
        live.tick(250.0)
        live.until_alerts()
        assert live.run("status", "--quiet").returncode == 0

    def test_json_holds_what_the_tables_show(self, calm) -> None:
        answer = calm.json("status")
        assert answer["status"] == "healthy"
        assert answer["exit_code"] == 0
        assert answer["running"] is True
        assert answer["source"] == str(calm.data_dir / "tapewatch.sock")
        assert answer["engines"][0]["name"] == "momentum"
        assert answer["alerts"] == []

    def test_quiet_is_one_line(self, calm) -> None:
        assert len(calm.run("status", "--quiet").stdout.splitlines()) == 1

    def test_an_address_is_asked_when_one_is_named(self, calm) -> None:
        url = f"http://127.0.0.1:{calm.daemon.port}"
        answer = json.loads(calm.command("status", "--url", url, "--json").stdout)
        assert answer["source"] == url


class TestHealth:
    @pytest.mark.requirement("S5-34", "S5-65", "S5-95")
    def test_broker_breaker_and_engine_are_checked(self, calm) -> None:
        done = calm.run("health")
        assert done.returncode == 0, done.stdout
        assert done.stdout.startswith("TAPEWATCH OK - ")
        for check in ("broker:momentum", "circuit_breaker:momentum", "engine:momentum", "storage"):
            assert any(line.startswith(check) for line in done.stdout.splitlines())

    @pytest.mark.requirement("S5-34", "S5-95")
    def test_a_breaker_and_a_lost_broker_are_critical(self, live) -> None:
        live.engine.record_tick(
            {
                "pnl": {"daily": 7.0},
                "risk": {"circuit_breaker_active": True},
                "connectivity": {"breeze_authenticated": False},
            }
        )
        live.until_pnl(7.0)
        answer = live.json("health")
        assert answer["exit_code"] == 2
        assert answer["checks"]["broker:momentum"]["status"] == "critical"
        assert answer["checks"]["circuit_breaker:momentum"]["status"] == "critical"

    @pytest.mark.requirement("S5-34", "S5-68", "S5-89")
    def test_model_files_are_fresh_stale_or_missing(self, calm, tmp_path: Path) -> None:
        fresh, stale = tmp_path / "fresh.pkl", tmp_path / "stale.pkl"
        fresh.touch()
        stale.touch()
        old = time.time() - 25 * 3600
        os.utime(stale, (old, old))
        config = tmp_path / "tapewatch.yaml"
        config.write_text(
            calm.daemon.config_path.read_text().replace("rules: [rules.yaml]", "") + "artifacts:\n"
            f"  - {{name: fresh, path: {fresh}}}\n"
            f"  - {{name: stale, path: {stale}}}\n"
            "  - {name: gone, path: gone.pkl}\n"
        )
        done = calm.command("health", "--config", str(config), "--json")
        answer = json.loads(done.stdout)
        assert done.returncode == answer["exit_code"] == 1
        assert answer["checks"]["artifact:fresh"]["status"] == "healthy"
        assert answer["checks"]["artifact:stale"] == {
            "status": "degraded",
            "message": "1d1h old, more than 1d",
        }
        assert answer["checks"]["artifact:gone"]["message"] == "missing: gone.pkl"

    def test_one_check_alone(self, calm) -> None:
        answer = calm.json("health", "storage")
        assert list(answer["checks"]) == ["storage"]
        assert answer["exit_code"] == 0

    def test_an_engine_goes_by_its_bare_name_as_well(self, calm) -> None:
        assert calm.run("health", "momentum").returncode == 0

    def test_a_check_that_does_not_exist_is_unknown_and_never_a_warning(self, calm) -> None:
        done = calm.run("health", "nothing")
        assert done.returncode == 3
        assert 'no check is called "nothing"' in done.stderr


class TestMetrics:
    @pytest.mark.requirement("S5-35", "S5-65", "S5-75")
    def test_every_figure_of_a_field_by_its_path(self, calm) -> None:
        done = calm.run("metrics", "pnl.daily", "--window", "1h")
        assert done.returncode == 0
        header, row = done.stdout.splitlines()
        assert header.split() == ["SERIES", "MIN", "MAX", "AVG", "COUNT", "LAST"]
        assert row.startswith('{engine="momentum"}')

    @pytest.mark.requirement("S5-35", "S5-75")
    def test_one_aggregate_as_json(self, left_behind) -> None:
        rows = left_behind.json("metrics", "pnl_daily", "--aggregate", "max", "--window", "2h")
        assert rows == [{"labels": {"engine": "momentum"}, "max": 250.0}]

    @pytest.mark.requirement("S5-35", "S5-75", "S5-05")
    def test_rows_by_step_as_csv(self, left_behind) -> None:
        done = left_behind.run(
            *("metrics", "pnl_daily", "--step", "30m", "--window", "2h", "--format", "csv")
        )
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert rows
        assert set(rows[0]) == {"until", "engine", "min", "max", "avg", "count"}
        assert sum(int(row["count"]) for row in rows) == 22

    def test_without_a_field_all_are_listed(self, calm) -> None:
        names = calm.run("metrics").stdout.split()
        assert {"pnl_daily", "positions_count", "tapewatch_engine_up"} <= set(names)
        assert calm.json("metrics") == names

    def test_a_misspelt_field_is_told_what_was_meant(self, calm) -> None:
        done = calm.run("metrics", "pnl_dialy")
        assert done.returncode == 1
        assert "did you mean pnl_daily?" in done.stderr

    def test_an_engine_can_be_picked(self, calm) -> None:
        assert calm.json("metrics", "pnl_daily", "--engine", "momentum")
        assert calm.json("metrics", "pnl_daily", "--engine", "another") == []

    @pytest.mark.requirement("S2-99")
    def test_every_sample_is_exported_once(self, live, tmp_path: Path) -> None:
        for step in range(30):
            live.tick(1.0 + step)
        target = tmp_path / "out.csv"
        done = live.run("metrics", "export", "pnl.daily", "--since", "1h", "-o", str(target))
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(target.read_text().splitlines()))
        assert [float(row["value"]) for row in rows] == [250.0, *(1.0 + s for s in range(30))]
        assert rows[0]["metric"] == "pnl_daily"
        assert rows[0]["labels"] == '{engine="momentum"}'
        assert target.stat().st_mode & 0o777 == 0o600
        again = live.run("metrics", "export", "pnl.daily", "-o", str(target))
        assert again.returncode == 1
        assert "left as it is" in again.stderr
        lines = live.run("metrics", "export", "pnl_daily", "--format", "json").stdout.splitlines()
        assert [json.loads(line)["value"] for line in lines] == [float(r["value"]) for r in rows]


class TestQuery:
    def test_an_instant_vector_is_a_table(self, calm) -> None:
        done = calm.run("query", 'pnl_daily{engine="momentum"}')
        assert done.returncode == 0
        header, row = done.stdout.splitlines()
        assert header.split() == ["SERIES", "VALUE", "TIME"]
        assert row.startswith('pnl_daily{engine="momentum"}  250')

    def test_a_scalar_is_a_line_and_json_is_the_whole_answer(self, calm) -> None:
        assert calm.run("query", "1 + 1").stdout == "2\n"
        assert calm.json("query", "vector(3)")["data"]["result"][0]["value"][1] == "3"

    def test_a_range_is_summed_up(self, calm) -> None:
        done = calm.run("query", "vector(time() * 0 + 5)", "--range", "1m", "--step", "10s")
        assert done.stdout.splitlines()[1].split()[:6] == ["{}", "7", "5", "5", "5", "5"]

    def test_a_wrong_query_shows_the_place(self, calm) -> None:
        done = calm.run("query", "sum(rate(pnl_daily[5m]))) + 1")
        assert done.returncode == 1
        message, source, caret = done.stderr.splitlines()[:3]
        assert message.startswith("tapewatch: error: line 1, column 25: ")
        assert source == "  sum(rate(pnl_daily[5m]))) + 1"
        assert caret == " " * 26 + "^"

    def test_no_match_is_said_beside_the_output(self, calm) -> None:
        done = calm.run("query", "nothing_of_this_name")
        assert (done.returncode, done.stdout) == (0, "")
        assert "no series matches" in done.stderr


class TestAck:
    @pytest.mark.requirement("S5-74")
    def test_an_alert_is_taken_by_its_rule_and_shown_as_taken(self, live) -> None:
        live.tick(-300.0)
        live.until_alerts("losing")
        done = live.run("ack", "losing", "--by", "maria", "--note", "selling")
        assert (done.returncode, done.stdout) == (0, "losing: taken by maria\n")
        alert = live.json("status")["alerts"][0]
        assert alert["acknowledged"] is True
        assert alert["acknowledgement"]["note"] == "selling"
        assert "taken" in live.run("status").stdout

    @pytest.mark.requirement("S5-74")
    def test_all_alerts_of_a_rule_are_answered_and_a_note_outlives_a_second_taking(
        self, live
    ) -> None:
        with Recorder("value", data_dir=live.data_dir) as other:
            other.record_tick({"pnl": {"daily": -5.0}})
            live.tick(-300.0)
            live.until_alerts("losing", "losing")
            answer = live.json("ack", "losing", "--by", "maria", "--note", "selling")
            assert [a["rule"] for a in answer["alerts"]] == ["losing", "losing"]
            assert answer["alert"] == answer["alerts"][0]
            done = live.run("ack", "losing", "--by", "jon")
            assert done.stdout == "losing: 2 alerts taken by jon\n"
            for alert in live.json("status")["alerts"]:
                assert alert["acknowledgement"]["by"] == "jon"
                assert alert["acknowledgement"]["note"] == "selling"

    def test_an_alert_that_does_not_exist_is_an_error(self, calm) -> None:
        done = calm.run("ack", "nothing")
        assert done.returncode == 1
        assert "nothing" in done.stderr


class TestRetire:
    def test_an_engine_that_has_ended_is_forgotten(self, live) -> None:
        code = (
            "import sys; from tapewatch import Recorder;"
            "r = Recorder('brief', data_dir=sys.argv[1]); r.record_tick({'x': 1.0}); r.close()"
        )
        subprocess.run([sys.executable, "-c", code, str(live.data_dir)], check=True)

        def stopped() -> bool:
            _, body = live.daemon.get("/api/tapewatch/engines")
            return any(e["name"] == "brief" and e["state"] == "stopped" for e in body["engines"])

        eventually(stopped, "the engine's end")
        done = live.run("retire", "brief")
        assert (done.returncode, done.stdout) == (0, "brief: retired\n")
        assert [e["name"] for e in live.json("status")["engines"]] == ["momentum"]

    def test_an_engine_that_nobody_knows_is_an_error(self, calm) -> None:
        done = calm.run("retire", "nothing")
        assert done.returncode == 1
        assert "nothing" in done.stderr


class TestDoctor:
    def test_all_is_well_beside_a_running_daemon(self, calm) -> None:
        done = calm.run("doctor", "--json")
        answer = json.loads(done.stdout)
        assert done.returncode == 0, answer
        found = {f["name"]: f for f in answer["findings"]}
        assert found["lock"]["found"] == f"a daemon runs here, pid {calm.daemon.process.pid}"
        assert found["port"]["outcome"] == "ok"
        assert found["rules"]["found"] == "2 rules in 1 group"
        assert found["web token"]["outcome"] == "not_configured"


class TestSecondDaemon:
    @pytest.mark.requirement("F12")
    def test_a_second_daemon_is_refused_and_the_first_is_named(self, calm) -> None:
        done = calm.run("run", "--listen", "127.0.0.1:0")
        assert done.returncode == 1
        assert str(calm.daemon.process.pid) in done.stderr
        assert "in use by another daemon" in done.stderr
        assert calm.daemon.get("/livez")[0] == 200


class TestTail:
    @pytest.mark.requirement("S5-32", "S5-65", "S5-86")
    def test_what_the_daemon_tells_is_shown(self, left_behind) -> None:
        done = left_behind.run("tail", "--no-follow")
        assert done.returncode == 0
        assert any(
            "CRITICAL" in line and "losing" in line and "P&L of momentum is -300" in line
            for line in done.stdout.splitlines()
        )


class TestConfigShow:
    @pytest.mark.requirement("C-10")
    def test_every_value_stands_beside_its_origin(self, calm) -> None:
        rows = {row["setting"]: row for row in calm.json("config", "show")["settings"]}
        assert rows["monitoring.heartbeat_interval"]["value"] == "1h"
        assert rows["monitoring.heartbeat_interval"]["origin"].endswith("tapewatch.yaml:6")
        assert rows["storage.alerts_retention"]["origin"] == "default"
        changed = calm.json("config", "show", "--changed")["settings"]
        assert all(row["origin"] != "default" for row in changed)
