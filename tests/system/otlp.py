"""A collector: takes OTLP over HTTP in protobuf, parsed by the standard's own messages."""
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from tests.services.services import free_ports
from tests.system.stack import wait_until

KINDS = ("", "internal", "server", "client", "producer", "consumer")


class Span:
    def __init__(self, resource, scope, span):
        self.resource = {pair.key: value_of(pair.value) for pair in resource.attributes}
        self.scope, self.name, self.kind = scope.name, span.name, KINDS[span.kind]
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.began, self.ended = span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9
        self.attributes = {pair.key: value_of(pair.value) for pair in span.attributes}
        self.failed, self.message = span.status.code == 2, span.status.message

    def __repr__(self):
        return f"<{self.name} {self.trace[:6]}/{self.id} under {self.parent or '-'} {self.attributes} {self.message}>"


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


class Collector:
    """Answers `status` to every export, as long as it is up; by https with a certificate: (file, file of its key)."""

    def __init__(self, port=0, certificate=None):
        self.status, self.refused, self.requests, self.spans = 200, 0, [], []
        self.lock = threading.Lock()
        # A port that no outgoing connection can have taken when it comes back.
        self.port, self.certificate = port or free_ports(1)[0], certificate
        self.start()

    def start(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = collector.take(self.path, self.headers, body)
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, self.certificate))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self, path, headers, body):
        with self.lock:
            self.requests.append((path, dict(headers)))
            if self.status != 200:
                self.refused += 1
                return b""
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += [Span(resource.resource, scope.scope, span) for span in scope.spans]
            return ExportTraceServiceResponse().SerializeToString()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self):
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}/v1/traces"

    def find(self, **fields):
        """Spans with these names, kinds, traces …"""
        with self.lock:
            return [span for span in self.spans if all(getattr(span, key) == value for key, value in fields.items())]

    def wait(self, n=1, **fields):
        """At least n such spans."""
        def look():
            found = self.find(**fields)
            return found if len(found) >= n else None
        return wait_until(look, f"for {n} spans {fields} among {self.spans}")
