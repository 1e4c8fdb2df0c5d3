from __future__ import annotations

import datetime
import json
import threading
import time
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.media.clips import Clip, make_clip
from tests.media.numbered import write_numbered
from tests.media.pipeline import write_segment
from vidsr.batch import upscale_inputs
from vidsr.cli import main
from vidsr.errors import InputError, OutputExists, SettingsError
from vidsr.evidence import Check, FrameCounts, ModelDigest, check_record, read_record, write_record
from vidsr.graph.finish import finish
from vidsr.graph.prepare import prepare
from vidsr.graph.progress import Silent
from vidsr.graph.run import open_ledger
from vidsr.request import Request
from vidsr.settings import UpscaleSettings
from vidsr.signing import Credentials, sign_result

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NOW = datetime.datetime.now(datetime.UTC)


def certificate(
    subject: str, key: PrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, authority: bool
) -> bytes:
    """A PEM certificate of the profile that C2PA asks for."""

    def name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
            ]
        )

    usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    builder = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """A signer's certificate chain and key, made for the test."""
    return credentials_of(ec.generate_private_key(ec.SECP256R1()), tmp_path_factory.mktemp("keys"))


def credentials_of(key: PrivateKey, folder: Path) -> Credentials:
    root = ec.generate_private_key(ec.SECP256R1())
    chain = certificate("Signer", key, "Root", root, authority=False) + certificate("Root", root, "Root", root, True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(secret)
    return Credentials(folder / "chain.pem", folder / "key.pem")


def made(folder: Path, suffix: str = ".mp4") -> tuple[Path, Path]:
    """A source and a result with its record."""
    source = write_numbered(folder / "drive.mp4", 96, 64)
    result = write_numbered(folder / f"drive_2x{suffix}", 192, 128)
    write_record(
        source,
        result,
        model=ModelDigest("balanced-2x", "ab" * 32),
        settings={"scale": 2},
        frames=FrameCounts(40, 40),
        checks=(Check("frames", True, "40 of 40"),),
        started=0,
        finished=1,
    )
    return source, result


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux()]


def test_a_signed_result_is_the_same_video_and_its_manifest_holds(tmp_path: Path, credentials: Credentials) -> None:
    source, result = made(tmp_path)
    before, untouched = packets(result), source.read_bytes()
    record = sign_result(result, credentials)
    assert record.signature == "C2PA, Signer, Es256"
    assert packets(result) == before
    assert source.read_bytes() == untouched
    assert check_record(result) == []
    assert read_record(result) == record
    with result.open("rb") as stream, c2pa.Reader("video/mp4", stream) as reader:
        assert reader.get_validation_state() == "Valid"
        manifests = json.loads(reader.json())
    manifest = manifests["manifests"][manifests["active_manifest"]]
    assert [i["title"] for i in manifest["ingredients"]] == ["drive.mp4"]
    actions = manifest["assertions"][-1]["data"]["actions"]
    assert [a["action"] for a in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["parameters"]["modelSha256"] == "ab" * 32
    assert sorted(p.name for p in tmp_path.iterdir()) == ["drive.mp4", "drive_2x.mp4", "drive_2x.mp4.vidsr.json"]


def test_a_changed_byte_breaks_the_signature(tmp_path: Path, credentials: Credentials) -> None:
    _, result = made(tmp_path)
    sign_result(result, credentials)
    content = bytearray(result.read_bytes())
    content[content.index(b"mdat") + 100] ^= 1
    result.write_bytes(content)
    with result.open("rb") as stream, c2pa.Reader("video/mp4", stream) as reader:
        assert reader.get_validation_state() == "Invalid"
    assert "has changed" in check_record(result)[0]


def test_a_result_that_is_not_what_its_record_says_is_not_signed(tmp_path: Path, credentials: Credentials) -> None:
    _, result = made(tmp_path)
    result.write_bytes(result.read_bytes() + b"x")
    with pytest.raises(InputError, match="not signed"):
        sign_result(result, credentials)


def test_a_death_on_the_way_leaves_the_result_as_its_record_says(
    tmp_path: Path, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, result = made(tmp_path)
    for step in ("vidsr.evidence._describe", "vidsr.evidence.sync"):  # what takes time of a large result
        with monkeypatch.context() as dying:
            dying.setattr(step, raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                sign_result(result, credentials)
        assert check_record(result) == []
    assert sign_result(result, credentials).signature


def raise_interrupt(*words: object) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_signed_is_left_as_it_was(tmp_path: Path, credentials: Credentials) -> None:
    _, result = made(tmp_path)
    before = result.read_bytes()
    with pytest.raises(SettingsError, match=r"gone\.pem"):
        sign_result(result, Credentials(tmp_path / "gone.pem", credentials.key))
    with pytest.raises(SettingsError, match="cannot sign"):
        sign_result(result, Credentials(credentials.key, credentials.certificates))
    with pytest.raises(SettingsError, match="cannot"):
        sign_result(result, Credentials(credentials.key, credentials.key))
    assert result.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_matroska_has_no_place_for_a_manifest(tmp_path: Path, credentials: Credentials) -> None:
    _, result = made(tmp_path, ".mkv")
    with pytest.raises(SettingsError, match="--container mp4"):
        sign_result(result, credentials)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "Es256"),
        (ec.generate_private_key(ec.SECP384R1()), "Es384"),
        (ec.generate_private_key(ec.SECP521R1()), "Es512"),
        (rsa.generate_private_key(65537, 2048), "Ps256"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_key_says_how_it_signs(tmp_path: Path, key: PrivateKey, algorithm: str) -> None:
    _, result = made(tmp_path)
    record = sign_result(result, credentials_of(key, tmp_path))
    assert record.signature == f"C2PA, Signer, {algorithm}"


def test_the_command_signs_files_and_folders(tmp_path: Path, credentials: Credentials, nearest: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    for name in ("a.mp4", "b.mkv"):
        make_clip(card / name, Clip(frames=4))
    words = ["--model", str(nearest), "--c2pa", str(credentials.certificates), str(credentials.key)]
    done = CliRunner().invoke(main, ["upscale", str(card / "a.mp4"), "-o", str(tmp_path / "one.mp4"), *words])
    assert done.exit_code == 0, done.output
    assert read_record(tmp_path / "one.mp4").signature == "C2PA, Signer, Es256"
    done = CliRunner().invoke(main, ["upscale", str(card), *words])
    assert done.exit_code == 0, done.output
    assert read_record(tmp_path / "card_2x" / "a.mp4").signature == "C2PA, Signer, Es256"
    assert read_record(tmp_path / "card_2x" / "b.mkv").signature == "", "Matroska has no place"
    for name in ("a.mp4", "b.mkv"):
        assert check_record(tmp_path / "card_2x" / name) == []


def test_a_run_that_was_killed_while_it_signed_signs_when_it_is_run_again(
    tmp_path: Path, credentials: Credentials, nearest: Path
) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=4))
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    plan = prepare(source, None, settings, overwrite=False, gpu=False)
    for segment in open_ledger(plan, Silent()):
        write_segment(plan.ledger.path(segment), plan.info, segment.first, segment.stop, 2, plan.settings.encode)
    finish(plan, 4, time.time(), Silent())
    assert read_record(plan.result).signature == ""
    request = Request((source,), settings=settings, credentials=credentials)
    (report,) = upscale_inputs(request, threading.Event())
    assert (report["computed_frames"], report["verified"]) == (0, True)
    assert read_record(plan.result).signature == "C2PA, Signer, Es256" and check_record(plan.result) == []
    signed = plan.result.read_bytes()
    with pytest.raises(OutputExists):
        upscale_inputs(request, threading.Event())
    plan.ledger.folder.mkdir()  # as if it had been killed before that was removed
    assert upscale_inputs(request, threading.Event()) == [report]
    assert plan.result.read_bytes() == signed and not plan.ledger.folder.exists()


def test_what_cannot_be_signed_is_said_before_the_work(tmp_path: Path, credentials: Credentials, nearest: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", Clip(frames=4))
    words = [str(source), "--model", str(nearest), "--c2pa"]
    done = CliRunner().invoke(main, ["upscale", *words, str(credentials.key), str(credentials.certificates)])
    assert done.exit_code == SettingsError.exit_code and "certificates first" in done.output
    done = CliRunner().invoke(main, ["upscale", *words, str(credentials.certificates), str(credentials.key)])
    assert done.exit_code == SettingsError.exit_code and "--container mp4" in done.output
    done = CliRunner().invoke(main, ["submit", *words, str(credentials.certificates), str(credentials.key)])
    assert done.exit_code == SettingsError.exit_code and "send your key" in done.output
    words += [str(credentials.certificates), str(credentials.key)]
    planned = CliRunner().invoke(main, ["upscale", *words, "--dry-run"])
    assert planned.exit_code == SettingsError.exit_code and "--container mp4" in planned.output
    del words[-2:]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
    words[0] = str(make_clip(tmp_path / "a.avi", Clip(frames=4)))  # becomes Matroska
    done = CliRunner().invoke(main, ["upscale", *words, str(credentials.certificates), str(credentials.key)])
    assert done.exit_code == SettingsError.exit_code and "--container mp4" in done.output
    words += [str(credentials.certificates), str(credentials.key), "--container", "mp4"]
    done = CliRunner().invoke(main, ["upscale", *words])
    assert done.exit_code == 0, done.output
    assert read_record(tmp_path / "a_2x.mp4").signature == "C2PA, Signer, Es256"
