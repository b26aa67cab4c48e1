"""The settings file: complete, checked at once, with the place of each problem."""

import re
from pathlib import Path

import pytest

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import ConfigError
from pacs_server.settings import Settings, entries, load, minimal_file, shown_url, site_aet

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "pacs.example.yaml"
REFERENCE = ROOT / "docs" / "reference" / "settings.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "pacs.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path, environment)
    return [problem.replace(f"{path} ", "") for problem in caught.value.problems]


def test_an_empty_file_is_all_defaults(tmp_path):
    settings = load(write(tmp_path, ""))
    assert settings == Settings(data_dir=tmp_path, database=f"sqlite:///{tmp_path}/index.db")
    assert set(settings.origins.values()) == {"default"}


def test_the_example_says_every_setting_with_its_default(tmp_path):
    path = write(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    settings = load(path)
    assert settings == load(write(tmp_path, ""))
    assert "default" not in settings.origins.values()


def test_the_reference_names_every_setting_with_its_default(tmp_path):
    settings = load(write(tmp_path, ""))
    documented = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^|]*)` \|", REFERENCE.read_text(encoding="utf-8"), re.M))
    relative = {"data_dir": ".", "database": "sqlite:///index.db"}
    words = {None: "null", True: "true", False: "false", "": '""'}
    expected = {
        name: relative.get(name) or (words[value] if value in (None, "") or isinstance(value, bool) else str(value))
        for name, value in entries(settings)
    }
    assert documented == expected


def test_all_problems_are_named_at_once_each_with_its_line(tmp_path):
    assert problems_of(tmp_path, "port: 99999\naet: TOO-LONG-AN-AE-TITLE\nlog:\n  level: loud\ncheck_called: 3\n") == [
        "line 1: port: is 99999, but has to be between 0 and 65535",
        "line 2: aet: 'TOO-LONG-AN-AE-TITLE' is not an AE title: 1 to 16 printable ASCII characters, no backslash",
        "line 4: log.level: is one of DEBUG, INFO, WARNING, ERROR, not 'loud'",
        "line 5: check_called: is true or false, not '3'",
    ]


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("prot: 1", "port"),
        ("network: {idle_timeout: 3}", "network.idle_timeout_s"),
        ("idle_timeout_s: 3", "network.idle_timeout_s"),
        ("network: {port: 3}", "port"),
        ("datadir: x", "data_dir"),
        ("lgo: {level: DEBUG}", "log"),
        ("netwrok: {max_associations: 3}", "network"),
        ("alert: {wehbook: {url: x}}", "alert.webhook"),
        ("webhook: {url: x}", "alert.webhook"),
        ("<<: {port: 1}", ""),
    ],
)
def test_an_unknown_setting_names_the_nearest(tmp_path, line, nearest):
    (problem,) = problems_of(tmp_path, line)
    told = problem.partition("unknown setting; the nearest is ")[2]
    assert told == nearest if nearest else told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("port: yes", "needs a whole number, not 'yes'"),
        ("port: 1.5", "needs a whole number"),
        ("port: [1]", "needs one value"),
        ("port:", "tls.port too: nobody could call, so give one of them a whole number"),
        ("workers:", "needs a whole number"),
        ("host: a b", "neither an IP address nor a host name"),
        ("host: 300.1.1.1", "neither an IP address nor a host name"),
        ("host: ''", "neither an IP address nor a host name"),
        ("network: 3", "needs settings below it"),
        ("network: {pdu_timeout_s: -1}", "has to be between"),
        ("network: {pdu_timeout_s: .nan}", "needs a number, not '.nan'"),
        ("network: {pdu_timeout_s: 1:30}", "needs a number, not '1:30'"),
        ("port: 0x2b67", "needs a whole number, not '0x2b67'"),
        ("port: !!timestamp x", "needs a whole number, not 'x'"),
        ("check_called: !!bool x", "is true or false, not 'x'"),
        ("database: mysql://x/y", "begins with sqlite:/// or postgresql://"),
        ("database: 'sqlite://'", "needs a file"),
        ("database: postgresql://u:secret@h/x", "holds a password; put it in a file"),
        ("database: postgresql://u@h/x?sslmode=require&password=secret", "holds a password; put it in a file"),
        ("database: postgresql://u@h/x?p%61ssword=secret", "holds a password; put it in a file"),
        ("default_charset: SJIS", "not a defined term"),
        ('default_issuer: "a\\nb"', "line break or a control character"),
        ("port: 1\nport: 2", "is set twice"),
        ("log: {level: INFO", "line"),
        ("- port", "list of `name: value` lines"),
        ('port: "\\x01"', "control character"),
        ("volume_paths: [nas1]", "needs `name: path` lines below it"),
        ("volume_paths: {nas1: srv/nas1}", "the path of nas1 is srv/nas1, but has to begin with /"),
        ("volume_paths: {nas1: [/srv]}", "needs one value"),
        ("volume_paths: {nas1: /a, nas1: /b}", "has a name twice"),
        ("patroni: {urls: http://db1:8008}", "needs a list, like [A, B]"),
        ("patroni: {urls: [db1:8008]}", "'db1:8008' is not the URL of a member's REST API"),
        ("patroni: {urls: ['http://me:secret@db1:8008']}", "holds a user name"),
        ("patroni: {password_file: nowhere}", "nowhere cannot be read"),
        ("alert: {webhook: {url: 'ftp://host/'}}", "is no URL that begins with https:// or http://"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_reason(tmp_path, line, reason):
    (problem,) = problems_of(tmp_path, line)
    assert reason in problem
    assert "secret" not in problem


@pytest.mark.parametrize("port", ["99999", "0", "abc", "-1", "８０"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("alert.webhook.url", "alert: {webhook: {url: 'http://host:%s/hooks/secret'}}"),
        ("patroni.urls", "patroni: {urls: ['http://db1:8008', 'https://host:%s']}"),
        ("database", "database: postgresql://pacs@host:%s/x"),
        ("database", "database: postgresql://pacs@db1:5432,host:%s/x?target_session_attrs=read-write"),
    ],
)
def test_a_port_of_a_url_that_cannot_be_is_refused_with_the_setting_and_the_remedy(tmp_path, name, line, port):
    assert problems_of(tmp_path, line % port) == [
        f"line 1: {name}: 'host:{port}' has no port from 1 to 65535; correct it, or leave it out for the usual one"
    ]


@pytest.mark.parametrize("hosts", ["db1:5432,db2:5433", "db1,db2", "[::1]:5432", ""])
def test_a_database_may_be_on_several_hosts(tmp_path, hosts):
    url = f"postgresql://pacs@{hosts}/x?target_session_attrs=read-write"
    assert load(write(tmp_path, f"database: {url}")).database == url


@pytest.mark.parametrize("url", ["http://host/", "https://host:65535/a?b", "http://[::1]:1/", "http://host:/"])
def test_a_webhook_may_name_its_port_or_leave_it_out(tmp_path, url):
    assert load(write(tmp_path, f"alert: {{webhook: {{url: '{url}'}}}}")).alert.webhook.url == url


@pytest.mark.parametrize("title", ["A\nB", "A\tB", "A;B", "A'B", 'A"B', "A`B", "A\\B", "SEVENTEEN_LETTERS", "", "病院"])
def test_an_ae_title_that_would_break_other_systems_is_refused(title):
    with pytest.raises(ValueError, match=r"AE title|configuration"):
        site_aet(title)


def test_an_ae_title_that_is_refused_is_shown_as_it_was_typed():
    with pytest.raises(ValueError, match="'ＣＴ１' is not an AE title"):
        site_aet("ＣＴ１")


def test_text_that_yaml_takes_for_something_else_stays_text(tmp_path):
    settings = load(write(tmp_path, "aet: NO\ndefault_issuer: 0123\n"))
    assert (settings.aet, settings.default_issuer) == ("NO", "0123")


def test_noughts_before_a_number_change_nothing(tmp_path):
    settings = load(write(tmp_path, "port: 011112\nnetwork: {pdu_timeout_s: 030, idle_timeout_s: 1_0.5}\n"))
    assert (settings.port, settings.network.pdu_timeout_s, settings.network.idle_timeout_s) == (11112, 30, 10.5)


def test_relative_paths_are_relative_to_the_data_directory(tmp_path):
    settings = load(write(tmp_path, "data_dir: data\nlog: {file: pacs.log}\ndatabase: sqlite:///x/i.db\n"))
    assert settings.data_dir == tmp_path / "data"
    assert settings.log.file == tmp_path / "data" / "pacs.log"
    assert settings.database == f"sqlite:///{tmp_path}/data/x/i.db"


def test_lists_and_paths_by_name_are_taken_whole(tmp_path):
    text = "volume_paths: {nas1: /srv/nas1, '2': /srv/2}\npatroni: {urls: [http://db1:8008, 'https://[::1]:8008/']}\n"
    settings = load(write(tmp_path, text))
    assert settings.volume_paths == {"nas1": Path("/srv/nas1"), "2": Path("/srv/2")}
    assert settings.patroni.urls == ("http://db1:8008", "https://[::1]:8008/")
    assert dict(entries(settings))["patroni.urls"] == ["http://db1:8008", "https://[::1]:8008/"]


def test_an_absolute_database_path_stays(tmp_path):
    assert load(write(tmp_path, "database: sqlite:////var/i.db\n")).database == "sqlite:////var/i.db"


def test_the_password_comes_from_its_file_and_is_shown_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("p@ss/word:1\nsince November\n")
    secret.chmod(0o600)
    settings = load(write(tmp_path, "database: postgresql://pacs@db:5433/x\ndatabase_password_file: secret\n"))
    assert settings.database == "postgresql://pacs:p%40ss%2Fword%3A1@db:5433/x"
    assert shown_url(settings.database) == "postgresql://pacs:***@db:5433/x"
    assert "%2Fword" not in repr(settings) + str(dict(entries(settings)))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u@h/x?password=secret&sslmode=require", "postgresql://u@h/x?password=***&sslmode=require"),
        ("postgresql://u@h/x?sslkey=/k&sslpassword=secret", "postgresql://u@h/x?sslkey=/k&sslpassword=***"),
        ("postgresql://u:secret@a:1,b:2/x?p%61ssword=secret", "postgresql://u:***@a:1,b:2/x?p%61ssword=***"),
        ("postgresql://u@/x?host=/run&passfile=/etc/pacs/pass", "postgresql://u@/x?host=/run&passfile=/etc/pacs/pass"),
        ("sqlite:////var/index.db?timeout=5", "sqlite:////var/index.db?timeout=5"),
    ],
)
def test_a_database_is_shown_without_its_passwords_wherever_they_stand(url, shown):
    assert shown_url(url) == shown


def test_a_password_file_that_everybody_can_read_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    (problem,) = problems_of(tmp_path, "database: postgresql://pacs@db/x\ndatabase_password_file: secret\n")
    assert problem.startswith("line 2: database_password_file: ")
    assert "chmod 600" in problem


def test_a_missing_password_file_and_a_missing_user_are_problems(tmp_path):
    (missing,) = problems_of(tmp_path, "database: postgresql://pacs@db/x\ndatabase_password_file: nowhere\n")
    assert missing.endswith("nowhere cannot be read: No such file or directory; write it (chmod 600), or name another")
    assert missing.count("nowhere") == 1
    (userless,) = problems_of(tmp_path, "database: postgresql://db/x\ndatabase_password_file: nowhere\n")
    assert "needs a user name" in userless


def test_the_environment_wins_and_is_named_as_the_origin(tmp_path):
    path = write(tmp_path, "aet: ONE\nport: 104\n")
    settings = load(path, {"PACS_AET": "TWO", "PACS_PORT": "104", "PACS_HOST": ""})
    assert (settings.aet, settings.port, settings.host) == (AeTitle("TWO"), 104, "127.0.0.1")
    assert settings.overridden() == {"aet": "PACS_AET"}
    assert settings.origins["port"] == f"{path} line 2"


def test_a_list_of_words_is_read_as_text_and_nothing_else_is_taken_for_one(tmp_path):
    settings = load(write(tmp_path, "failover:\n  hook: [/usr/bin/env, 104, no]\n"))
    assert settings.failover.hook == ("/usr/bin/env", "104", "no")
    for wrong in ("/usr/bin/env", "{a: b}", "[[a]]"):
        (problem,) = problems_of(tmp_path, f"failover:\n  hook: {wrong}\n")
        assert problem.startswith("line 2: failover.hook: needs ")


def test_a_bad_variable_is_a_problem_that_names_it(tmp_path):
    assert problems_of(tmp_path, "", {"PACS_PORT": "eleven"}) == ["PACS_PORT: port: needs a whole number, not 'eleven'"]


def test_a_file_that_is_missing_or_no_text_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="pacs init"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "pacs.yaml").write_bytes(b"aet: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "pacs.yaml")


@pytest.mark.parametrize("aet", ["PACS", "NO", "123", "A #B", "A: B", "{X}", "*"])
def test_a_minimal_file_is_read_back(tmp_path, aet):
    text = minimal_file(aet=AeTitle(aet), host="::1", port=104, database="postgresql://u@h/x")
    settings = load(write(tmp_path, text))
    assert (settings.aet, settings.host, settings.port, settings.database) == (aet, "::1", 104, "postgresql://u@h/x")
    assert len(text.splitlines()) < 10


def test_a_minimal_file_holds_no_password():
    with pytest.raises(ConfigError, match="holds a password"):
        minimal_file(aet=AeTitle("PACS"), host="127.0.0.1", port=104, database="postgresql://u:secret@h/x")


def test_a_file_that_may_not_be_read_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path, _: str) -> None:  # as for another user: root may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "pacs.yaml")
    path = tmp_path / "pacs.yaml"
    assert str(refused.value) == f"{path}: cannot be read: Permission denied; run pacs as the user of the server"
