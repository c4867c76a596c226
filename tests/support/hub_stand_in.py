"""A stand-in for the Hugging Face hub: what huggingface_hub asks of it when a model is published.

Speaks the API over HTTP on a port of this machine, keeps repositories in memory, and remembers
every request. Large files come by Git LFS's plain uploads, not by Xet.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "writer"  # noqa: S105 (the stand-in's own)
READER = "reader"


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()  # noqa: S324 (as git)

    def oid(self, name: str) -> str | None:
        """As the hub tells what it has: SHA-256 of a large file, git's hash of another."""
        content = self.files.get(name)
        if content is None:
            return None
        if name in self.large:
            return hashlib.sha256(content).hexdigest()
        blob = b"blob %d\0" % len(content) + content
        return hashlib.sha1(blob).hexdigest()  # noqa: S324 (as git)


class Hub:
    """The state of the hub; ``failures`` maps a part of a path to the status it answers once."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failures: dict[str, int] = {}
        self.created: list[dict] = []
        self.validated: list[str] = []
        self.refusal: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                status, value, headers = hub.reply(self.command, self.path, self.headers, body)
                content = json.dumps(value).encode()
                self.send_response(status)
                for key, text in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(key, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def sent(self, method: str, part: str) -> int:
        """How many requests of this method had ``part`` in their path."""
        return sum(m == method and part in path for m, path in self.requests)

    def reply(self, method, path, headers, body):
        self.requests.append((method, path))
        path = path.partition("?")[0]
        for part in list(self.failures):
            if part in path:
                return self.failures.pop(part), {"error": "made to fail"}, {}
        if path == "/api/validate-yaml":
            self.validated.append(json.loads(body)["content"])
            errors = [{"message": message} for message in self.refusal]
            return (400 if errors else 200), {"errors": errors, "warnings": []}, {}
        if path.startswith("/lfs/"):
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/lfs/")
            self.stored[path.removeprefix("/lfs/")] = body
            return 200, {}, {}
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            message = "Invalid credentials in Authorization header"
            return 401, {"error": message}, {"X-Error-Message": message}
        if method == "POST" and token == READER:
            return 403, {"error": "no"}, {"X-Error-Message": "You may not write"}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": self.batch(json.loads(body))}, {}
        owner, name, *rest = path.removeprefix("/api/models/").split("/")
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return 404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"}
        return 200, self.of(f"{owner}/{name}", repository, rest, body), {}

    def create(self, asked):
        self.created.append(asked)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.endpoint}/{name}"}
        if name in self.repositories:
            return 409, {**url, "error": "You already created this model repo"}, {}
        self.repositories[name] = Repository(asked.get("visibility") == "private")
        return 200, url, {}

    def batch(self, asked):
        found = []
        for one in asked["objects"]:
            new = one["oid"] not in self.stored
            upload = {"actions": {"upload": {"href": f"{self.endpoint}/lfs/{one['oid']}"}}}
            found.append({**one, **(upload if new else {})})
        return found

    def of(self, name, repository, rest, body):
        if rest[:1] == ["preupload"]:
            return {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                        "oid": repository.oid(file["path"]),
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        if rest[:1] == ["commit"]:
            self.commit(repository, [json.loads(line) for line in body.splitlines()])
            url = f"{self.endpoint}/{name}/commit/{repository.sha}"
            return {"commitUrl": url, "commitOid": repository.sha}
        if rest[:1] == ["tree"]:
            return [
                {"type": "file", "path": path, "size": len(content), "oid": repository.oid(path)}
                for path, content in repository.files.items()
            ]
        return {"id": name, "private": repository.private, "sha": repository.sha, "siblings": []}

    def commit(self, repository, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
                repository.large.discard(value["path"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.stored[value["oid"]]
                repository.large.add(value["path"])
            else:
                assert line["key"] == "deletedFile"
                del repository.files[value["path"]]
