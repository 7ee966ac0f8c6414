"""A stand-in for the Hugging Face hub on 127.0.0.1: as much of its HTTP interface as is used here."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Optional, Tuple

TOKEN = "hf_of_ann"
LARGE = (".onnx", ".safetensors", ".npz", ".bin", ".xml")


@dataclass
class Repo:
    """A repository: its files at each commit, and where its branches are."""

    private: bool = False
    commits: Dict[str, Dict[str, bytes]] = field(default_factory=dict)
    branches: Dict[str, str] = field(default_factory=dict)

    def commit(self, files: Dict[str, bytes], branch: str = "main") -> str:
        digest = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.branches[branch] = digest
        return digest

    @property
    def files(self) -> Dict[str, bytes]:
        """What the main branch holds; may be changed."""
        return self.commits[self.branches["main"]]


class FakeHub:
    """Serve repositories until `close`; `requests` notes what was asked."""

    def __init__(self) -> None:
        self.repos: Dict[str, Repo] = {}
        self.large: Dict[str, bytes] = {}
        self.requests: List[Tuple[str, str]] = []
        hub = self

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloaded(self) -> List[str]:
        """The files that were asked for with GET."""
        found = (
            re.search(r"/resolve/[^/]+/(.+)", path)
            for method, path in self.requests
            if method == "GET"
        )
        return [match[1] for match in found if match]


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    # ---- answers

    def _send(self, status: int, body: bytes, headers: Optional[Dict[str, str]] = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str = "", **headers: str) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        self._send(status, b'{"error": "refused"}', {**told, **headers})

    # ---- what is asked

    @property
    def _may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str) -> Optional[Repo]:
        """Return a repository, or say as the hub does that it is not there for this client."""
        repo = self.state.repos.get(name)
        if repo is None or (repo.private and not self._may):
            self._refuse(404 if self._may else 401, "RepoNotFound")
            return None
        return repo

    def _files(self, name: str, revision: str) -> Optional[Tuple[str, Dict[str, bytes]]]:
        repo = self._repo(name)
        if repo is None:
            return None
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self._refuse(404, "RevisionNotFound")
            return None
        return commit, repo.commits[commit]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.state.requests.append((self.command, path))
        if match := re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path):
            self._get_file(*match.groups())
        elif match := re.fullmatch(r"/api/models/(.+?)/tree/([^/]+)", path):
            if found := self._files(match[1], match[2]):
                self._json(
                    [
                        {"type": "file", "path": p, "size": len(c), "oid": "0" * 40}
                        for p, c in found[1].items()
                    ]
                )
        elif match := re.fullmatch(r"/api/models/(.+?)(?:/revision/([^/]+))?", path):
            if found := self._files(match[1], match[2] or "main"):
                siblings = [{"rfilename": p} for p in found[1]]
                self._json(
                    {
                        "id": match[1],
                        "modelId": match[1],
                        "sha": found[0],
                        "siblings": siblings,
                        "tags": [],
                    }
                )
        else:
            self._refuse(404)

    def _get_file(self, name: str, revision: str, path: str) -> None:
        found = self._files(name, revision)
        if found is None:
            return
        commit, files = found
        if path not in files:
            self._refuse(404, "EntryNotFound", **{"X-Repo-Commit": commit})
            return
        etag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
        self._send(200, files[path], {"ETag": etag, "X-Repo-Commit": commit})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.state.large[hashlib.sha256(body).hexdigest()] = body
        self._send(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.state.requests.append((self.command, path))
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif not self._may:
            self._refuse(401)
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/[^/]+", path):
            self._json({"files": [_mode(f["path"]) for f in json.loads(body)["files"]]})
        elif re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            self._batch(json.loads(body))
        elif match := re.fullmatch(r"/api/models/(.+)/commit/([^/]+)", path):
            self._commit(match[1], match[2], body)
        else:
            self._refuse(404)

    def _create(self, asked: Dict[str, Any]) -> None:
        owner = asked.get("organization") or "ann"
        name = f"{owner}/{asked['name']}"
        if name in self.state.repos:
            self._json({"error": "exists", "url": f"{self.state.url}/{name}"}, 409)
            return
        self.state.repos[name] = Repo(bool(asked.get("private")))
        self.state.repos[name].commit({".gitattributes": b""})
        self._json({"url": f"{self.state.url}/{name}", "name": name})

    def _batch(self, asked: Dict[str, Any]) -> None:
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.state.url}/large/{o['oid']}"}}}
            for o in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, revision: str, body: bytes) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if revision not in repo.branches:
            self._refuse(404, "RevisionNotFound")
            return
        files = dict(repo.commits[repo.branches[revision]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repo.commit(files, revision)
        url = f"{self.state.url}/{name}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})


def _mode(path: str) -> Dict[str, Any]:
    mode = "lfs" if path.endswith(LARGE) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}
