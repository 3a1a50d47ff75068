"""Certificates that OpenSSL makes for a test."""
import subprocess

ROOT_DAYS = "2"
HERE = "DNS:localhost,IP:127.0.0.1"


class Authority:
    """A CA in a folder, and what it signs."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                     "-out", self.cert, "-days", ROOT_DAYS, "-subj", f"/CN={name}")

    @staticmethod
    def openssl(*args):
        done = subprocess.run(["openssl", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def sign(self, name, subject, alternatives=None, expired=False):
        """(certificate, key): files."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                     "-subj", f"/CN={subject}")
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternatives}\n" if alternatives else "basicConstraints=CA:FALSE\n")
        if not expired:
            self.openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-out", cert,
                         "-days", ROOT_DAYS, "-extfile", extension)
            return cert, key
        # `x509 -req` knows no dates of the past; `ca` does.
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("77\n")
        (self.folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndir={self.folder}\ndatabase={self.folder}/index.txt\nserial={self.folder}/serial\n"
            f"new_certs_dir={self.folder}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        self.openssl("ca", "-batch", "-config", self.folder / "ca.cnf", "-in", request, "-out", cert, "-cert", self.cert,
                     "-keyfile", self.key, "-startdate", "20200101000000Z", "-enddate", "20200102000000Z",
                     "-extfile", extension, "-notext")
        return cert, key


class Pki:
    """Two CAs, and pairs (certificate, key) that they signed."""

    def __init__(self, folder):
        self.ca, self.other = Authority(folder / "ca", "ours"), Authority(folder / "other", "theirs")
        self.server = self.ca.sign("server", "localhost", HERE)
        self.second = self.ca.sign("second", "second", HERE)
        self.elsewhere = self.ca.sign("elsewhere", "elsewhere.example", "DNS:elsewhere.example")
        self.expired = self.ca.sign("expired", "localhost", HERE, expired=True)
        self.client = self.ca.sign("client", "ingest.example", "DNS:worker.example")
        self.stranger = self.other.sign("stranger", "ingest.example")
