"""Certificates for tests, made by openssl: an authority, and who it vouches for."""

import subprocess

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority in `folder`; `file` is its certificate."""

    def __init__(self, folder, name="authority"):
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            "req", "-x509", *KEY, "-subj", f"/CN={name}", "-days", 1, "-keyout", self._key, "-out", self.file,
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def issue(self, name, subject="IP:127.0.0.1"):
        """Make a key, and a certificate for `subject` (as subjectAltName has it); return the files of both."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        _openssl(
            "req", "-x509", *KEY, "-subj", f"/CN={name}", "-days", 1, "-keyout", key, "-out", certificate,
            "-CA", self.file, "-CAkey", self._key, "-addext", f"subjectAltName={subject}",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        return certificate, key
