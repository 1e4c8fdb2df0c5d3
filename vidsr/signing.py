"""Signing a result with C2PA Content Credentials, so that others can see who vouches for it and what was done.

The signature is made by the user's own key after the run; the key never travels to a cluster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsr.errors import InputError, OutputUnwritable, SettingsError
from vidsr.evidence import RECORD_SUFFIX, EvidenceRecord, check_record, find_source, read_record, replace_result

if TYPE_CHECKING:
    import c2pa

MEDIA_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/avi"}
# Of signatures; a key belongs to one kind of them, and the first that takes it is taken.
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
# IPTC digital source type: partly made by a trained model, which an upscaled picture is.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Credentials:
    """Who signs.

    Attributes:
        certificates: PEM file: the signer's certificate, then those that vouch for it.
        key: PEM file (PKCS #8) of the signer's private key.
    """

    certificates: Path
    key: Path


def open_signer(credentials: Credentials) -> c2pa.Signer:
    """A context manager that signs.

    Raises:
        SettingsError: the package c2pa is missing, or key and certificates cannot be read or are refused.
    """
    try:
        import c2pa
    except ImportError as error:
        raise SettingsError("signing needs c2pa-python; run `pip install c2pa-python`") from error
    try:
        chain, secret = credentials.certificates.read_bytes(), credentials.key.read_bytes()
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read ({error.strerror}); name a PEM file") from error
    refused: Exception | None = None
    for algorithm in ALGORITHMS:
        info = c2pa.C2paSignerInfo(alg=algorithm.encode(), sign_cert=chain, private_key=secret, ta_url=None)
        try:
            return c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            refused = refused or error
    raise SettingsError(
        f"{credentials.key} cannot sign with {credentials.certificates} ({refused}); "
        "name the certificates first, then their private key in PKCS #8"
    )


def sign_folder(folder: Path, credentials: Credentials) -> None:
    """Sign all results below a folder that have a record, a place for a manifest and no signature yet.

    Raises:
        VidsrError: as `sign_result`, of the first that cannot be signed.
    """
    for path in sorted(folder.rglob(f"*{RECORD_SUFFIX}")):
        result = path.with_name(path.name.removesuffix(RECORD_SUFFIX))
        if result.suffix.lower() in MEDIA_TYPES and result.exists() and not read_record(result).signature:
            sign_result(result, credentials)


def sign_result(result: Path, credentials: Credentials) -> EvidenceRecord:
    """Put a signed C2PA manifest into a result, and renew its record.

    Args:
        result: an MP4, MOV or AVI result with its record beside it; it is replaced by rename.
        credentials: who signs.

    Returns:
        The renewed record.

    Raises:
        SettingsError: the package c2pa is missing, the container takes no manifest, or key and certificates are
            refused.
        InputError: there is no record, or the result or source is not what it says.
        OutputUnwritable: the signed file cannot be written.
    """
    kind = media_type(result)
    problems = check_record(result)
    if problems:
        raise InputError(f"{result} is not signed, because it is not what its record says ({'; '.join(problems)})")
    record = read_record(result)
    part = result.with_name(f"{result.name}.signed.part")
    try:
        with open_signer(credentials) as signer:
            _sign(record, result, part, kind, signer)
        return replace_result(record, result, part, _signature(part, kind))
    except OSError as error:
        raise OutputUnwritable(f"{result} cannot be signed ({error.strerror}: {error.filename})") from error
    finally:
        part.unlink(missing_ok=True)


def media_type(result: Path) -> str:
    """What C2PA calls a result's container.

    Raises:
        SettingsError: it has no place for a manifest.
    """
    kind = MEDIA_TYPES.get(result.suffix.lower())
    if kind is None:
        raise SettingsError(f"{result}: C2PA has no place in {result.suffix or 'such'} files; use --container mp4")
    return kind


def _sign(record: EvidenceRecord, result: Path, part: Path, kind: str, signer: c2pa.Signer) -> None:
    import c2pa

    source = find_source(record, result)
    manifest = _manifest(record, result, with_source=source is not None)
    with c2pa.Builder(manifest) as builder:
        if source is not None:
            media = MEDIA_TYPES.get(source.suffix.lower(), "application/octet-stream")
            ingredient = {"title": source.name, "relationship": "parentOf", "instance_id": record.source.sha256}
            with source.open("rb") as stream:
                builder.add_ingredient(json.dumps(ingredient), media, stream)
        with result.open("rb") as before, part.open("w+b") as after:
            try:
                builder.sign(signer, kind, before, after)
            except c2pa.C2paError as error:
                raise SettingsError(f"{result} cannot be signed with these certificates: {error}") from error


def _manifest(record: EvidenceRecord, result: Path, with_source: bool) -> dict[str, Any]:
    """What is signed: opened the source, enlarged it with this model and these settings."""
    agent = {"name": "vidsr", "version": record.versions["vidsr"]}
    enlarged = {
        "action": "c2pa.edited",
        "description": "Enlarged by a neural network; fine detail is estimated, not recorded.",
        "when": record.finished,
        "softwareAgent": agent,
        "digitalSourceType": SOURCE_TYPE,
        "parameters": {
            "model": record.model.name,
            "modelSha256": record.model.sha256,
            "sourceSha256": record.source.sha256,
            "settings": json.dumps(record.settings),
        },
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [record.source.sha256]}}
    actions = [opened, enlarged] if with_source else [enlarged]
    return {
        "claim_generator_info": [agent],
        "title": result.name,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _signature(path: Path, kind: str) -> str:
    """Who signed a file, in words, after its manifest was read back and holds.

    Raises:
        SettingsError: the manifest does not hold.
    """
    import c2pa

    with path.open("rb") as stream, c2pa.Reader(kind, stream) as reader:
        if reader.get_validation_state() not in ("Valid", "Trusted"):
            raise SettingsError(f"{path}: the signed manifest does not hold; check key and certificates")
        manifests = json.loads(reader.json())
    info = manifests["manifests"][manifests["active_manifest"]]["signature_info"]
    return f"C2PA, {info.get('common_name') or info.get('issuer')}, {info['alg']}"
