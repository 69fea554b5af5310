"""What docs/devices.md says that a device sees of the broker, by a client of MQTT 3.1.1 and one of MQTT 5."""

import re
import subprocess
from collections.abc import Mapping

from tests.support.appliance_process import ApplianceProcess
from tests.support.documents import text

TOPIC = "tenant/fleet/device/d1/telemetry"
VERSIONS = ("mqttv311", "mqttv5")
TABLE: Mapping[str, tuple[Mapping[str, str], tuple[str, str]]] = {
    "a wrong password": ({"-P": "not the password", "-t": TOPIC, "-m": "{}"}, ("CONNACK (5)", "CONNACK (135)")),
    "a topic without the right": (
        {"-t": f"{TOPIC[:6]}s{TOPIC[6:]}", "-m": "{}"},
        ("PUBACK (Mid: 1, RC:0)", "PUBACK (Mid: 1, RC:135)"),
    ),
    "a packet that is too large": (
        {"-t": TOPIC, "-m": "x" * 40_000},
        ("The connection was lost", "sending DISCONNECT"),
    ),
    "a message that the appliance refuses afterwards": (
        {"-t": TOPIC, "-m": '{"temperature":'},
        ("PUBACK (Mid: 1, RC:0)", "PUBACK (Mid: 1, RC:0)"),
    ),
}
"""What each row of the guide's table tries, and what ``mosquitto_pub -d`` then prints, by version."""


def test_a_device_sees_of_the_broker_what_the_guide_says(appliance: ApplianceProcess) -> None:
    appliance.start()
    user = appliance.tenant("fleet")
    head = text("docs/devices.md").partition("| | MQTT 3.1.1 | MQTT 5 |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| ([^|]+) \|", head, re.MULTILINE) == list(TABLE)
    for row, (options, printed) in TABLE.items():
        for version, expected in zip(VERSIONS, printed, strict=True):
            given = {
                "-u": user["username"],
                "-P": user["password"],
                "-q": "1",
                "-p": str(appliance.mqtt_port),
                **options,
            }
            words = [word for pair in given.items() for word in pair]
            done = subprocess.run(
                ["mosquitto_pub", "-d", "-V", version, "-h", "127.0.0.1", *words],
                capture_output=True,
                text=True,
                check=False,
                timeout=20,
            )
            said = done.stdout + done.stderr
            assert expected in said, f"{row}, {version}: {said}"
            if row.startswith("a packet") and version == "mqttv5":
                assert "PUBACK" not in said
                assert "sending PUBLISH" not in said, "the library knows the limit from CONNACK"
