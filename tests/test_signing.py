from __future__ import annotations

import datetime
import json
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.media.numbered import write_numbered
from vidsr.errors import InputError, SettingsError
from vidsr.evidence import CheckOutcome, FrameCounts, ModelDigest, check_record, read_record, write_record
from vidsr.signing import sign_result

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")

NOW = datetime.datetime.now(datetime.timezone.utc)


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, authority: bool
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
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signer's certificate chain and key, made for the test."""
    folder = tmp_path_factory.mktemp("keys")
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = certificate("Signer", key, "Root", root, authority=False) + certificate("Root", root, "Root", root, True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(secret)
    return folder / "chain.pem", folder / "key.pem"


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
        checks=(CheckOutcome("frames", True, "40 of 40"),),
        started=0,
        finished=1,
    )
    return source, result


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux()]


def test_a_signed_result_is_the_same_video_and_its_manifest_holds(
    tmp_path: Path, credentials: tuple[Path, Path]
) -> None:
    source, result = made(tmp_path)
    before, untouched = packets(result), source.read_bytes()
    record = sign_result(result, *credentials)
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


def test_a_changed_byte_breaks_the_signature(tmp_path: Path, credentials: tuple[Path, Path]) -> None:
    _, result = made(tmp_path)
    sign_result(result, *credentials)
    content = bytearray(result.read_bytes())
    content[content.index(b"mdat") + 100] ^= 1
    result.write_bytes(content)
    with result.open("rb") as stream, c2pa.Reader("video/mp4", stream) as reader:
        assert reader.get_validation_state() == "Invalid"
    assert "has changed" in check_record(result)[0]


def test_a_result_that_is_not_what_its_record_says_is_not_signed(
    tmp_path: Path, credentials: tuple[Path, Path]
) -> None:
    _, result = made(tmp_path)
    result.write_bytes(result.read_bytes() + b"x")
    with pytest.raises(InputError, match="not signed"):
        sign_result(result, *credentials)


def test_what_cannot_be_signed_is_left_as_it_was(tmp_path: Path, credentials: tuple[Path, Path]) -> None:
    _, result = made(tmp_path)
    before = result.read_bytes()
    chain, key = credentials
    with pytest.raises(SettingsError, match="algorithm"):
        sign_result(result, chain, key, "md5")
    with pytest.raises(SettingsError, match=r"gone\.pem"):
        sign_result(result, tmp_path / "gone.pem", key)
    with pytest.raises(SettingsError, match="cannot sign"):
        sign_result(result, key, key)
    assert result.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_matroska_has_no_place_for_a_manifest(tmp_path: Path, credentials: tuple[Path, Path]) -> None:
    _, result = made(tmp_path, ".mkv")
    with pytest.raises(SettingsError, match="--container mp4"):
        sign_result(result, *credentials)
