"""What can be read in the Dockerfile of the image that it makes; ``make image`` tries the rest on the image itself."""

import re
import tomllib

from appliance.cli import COMMANDS
from appliance.sbom.debian_packages import PINNED
from tests.image.dockerfile import read_dockerfile
from tests.support.project import ROOT

BUILD, IMAGE = read_dockerfile()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LABEL = "org.opencontainers.image."
ARCHITECTURES = r"amd64|x86[_-]64|arm64|aarch64|--platform|TARGETARCH"


def test_the_last_stage_installs_what_runs_and_no_compiler() -> None:
    run = IMAGE.all("RUN")[0]
    installed = re.search(r"apt-get install --yes --no-install-recommends ([^&]*) &&", run)
    assert installed is not None
    assert installed[1].split() == ["ca-certificates", "mosquitto", "postgresql", "python3"]


def test_the_last_stage_takes_nothing_but_the_installed_program_from_the_first() -> None:
    assert IMAGE.all("COPY") == ["--from=build /opt/appliance /opt/appliance"]
    assert IMAGE.all("ADD") == BUILD.all("ADD") == []


def test_nothing_in_it_is_for_one_architecture_only() -> None:
    for stage in (BUILD, IMAGE):
        text = " ".join([stage.base, *(arguments for _, arguments in stage.instructions)])
        assert re.findall(ARCHITECTURES, text) == []


def test_nothing_is_compiled_while_it_is_built() -> None:
    [packages] = [run for run in BUILD.all("RUN") if "requirements.txt" in run]
    assert "--only-binary :all:" in packages


def test_one_user_without_rights_runs_everything() -> None:
    run = IMAGE.all("RUN")[0]
    assert IMAGE.only("USER") == "10001:10001"
    assert "groupadd --gid 10001 appliance" in run
    assert "--uid 10001 --gid 10001" in run
    assert run.endswith("find / -xdev -type f -perm /6000 -exec chmod ug-s {} +")


def test_the_key_that_debian_makes_does_not_become_part_of_it() -> None:
    run = IMAGE.all("RUN")[0]
    installed, _, later = run.partition(" apt-get install ")
    assert "rm -f /etc/ssl/private/ssl-cert-snakeoil.key" in later
    assert "rm " not in installed


def test_programs_are_started_without_a_shell() -> None:
    for name in ("CMD", "HEALTHCHECK"):
        program, command = IMAGE.command(name)
        assert program == "appliance"
        assert command in COMMANDS
    assert IMAGE.all("ENTRYPOINT") == IMAGE.all("SHELL") == []


def test_it_is_asked_whether_it_lives_and_asked_to_stop() -> None:
    assert IMAGE.command("HEALTHCHECK") == ["appliance", "healthcheck"]
    assert IMAGE.only("STOPSIGNAL") == "SIGTERM"


def test_people_and_devices_can_speak_tls_without_further_settings() -> None:
    settings = IMAGE.pairs("ENV")
    assert (settings["APPLIANCE_WEB_TLS"], settings["APPLIANCE_BROKER_TLS_PORT"]) == ("true", "8883")
    assert IMAGE.only("EXPOSE").split() == ["1883", "8080", "8883"]


def test_its_labels_say_what_the_package_says() -> None:
    assert IMAGE.pairs("LABEL") == {
        f"{LABEL}title": "Edge Appliance",
        f"{LABEL}description": PROJECT["description"],
        f"{LABEL}version": PROJECT["version"],
        f"{LABEL}licenses": PROJECT["license"],
    }


def test_the_data_have_a_volume_of_their_own() -> None:
    folder = IMAGE.pairs("ENV")["APPLIANCE_DATA_DIR"]
    assert IMAGE.only("VOLUME") == folder == IMAGE.only("WORKDIR")


def test_no_registry_is_named() -> None:
    assert [stage.base.split(" ")[0] for stage in (BUILD, IMAGE)] == ["debian:bookworm-slim"] * 2
    assert "://" not in (ROOT / "Dockerfile").read_text()


def test_the_bill_of_materials_is_made_when_everything_is_there() -> None:
    names = [name for name, _ in IMAGE.instructions]
    assert IMAGE.all("RUN")[1:] == ["appliance sbom >/usr/share/appliance/sbom.cdx.json"]
    assert names.index("COPY") < len(names) - 1 - names[::-1].index("RUN") < names.index("USER")
    pinned, _, emptied = IMAGE.all("RUN")[0].partition("rm -rf /var/lib/apt/lists/*")
    assert f">/{PINNED}" in pinned, "the hashes are kept before the lists of the mirror go"
    assert emptied


def test_no_layer_holds_a_secret_that_a_later_one_hides() -> None:
    for stage in (BUILD, IMAGE):
        assert stage.all("ARG") == stage.all("ADD") == [], "what is given to a build can be read in its history"
    assert IMAGE.all("COPY") == ["--from=build /opt/appliance /opt/appliance"]
    assert not [name for name in IMAGE.pairs("ENV") if re.search("PASS|TOKEN|SECRET|(?<!BUILD_)KEY", name)]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "nothing of a checkout is sent to a build but what is named"
