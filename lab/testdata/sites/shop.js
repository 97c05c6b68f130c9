// An Express application with sessions, as a first project has them: the session comes
// before the static files, so that every reply may set the cookie.
import { createHash } from "node:crypto";
import express from "express";
import session from "express-session";

const app = express();
app.set("trust proxy", true);
app.use(session({ secret: "test", resave: false, saveUninitialized: true }));
app.use("/assets", express.static("assets", { maxAge: "1d" }));
app.use(express.urlencoded({ extended: false }));

const self = (req, path) => `${req.protocol}://${req.headers.host}${path}`;

app.get("/me", (req, res) => {
	res.set("Cache-Control", "private");
	res.status(req.session.user ? 200 : 401).send(req.session.user ?? "log in");
});
app.post("/login", (req, res) => {
	req.session.user = req.body.user;
	res.cookie("theme", "dark", { domain: req.headers.host.split(":")[0] });
	res.redirect(303, self(req, "/me"));
});
app.get("/asked", (req, res) => {
	res.set("Cache-Control", "no-store");
	res.json({ host: req.headers.host, hostname: req.hostname, protocol: req.protocol, ip: req.ip });
});
app.get("/events", (req, res) => {
	res.set({ "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
	let n = 0;
	const timer = setInterval(() => {
		res.write(`data: ${n++}\n\n`);
		if (n === 4) {
			clearInterval(timer);
			res.end();
		}
	}, 250);
	req.on("close", () => clearInterval(timer));
});
app.post("/upload", (req, res) => {
	const hash = createHash("sha256");
	req.on("data", (piece) => hash.update(piece));
	req.on("end", () => res.send(hash.digest("hex")));
});

// /file/N is a file of N bytes, with ranges.
app.get("/file/:bytes", (req, res) => {
	const bytes = Buffer.alloc(Number(req.params.bytes));
	for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
	res.set({ ETag: `"${req.params.bytes}"`, "Accept-Ranges": "bytes", "Cache-Control": "public, max-age=60" });
	const range = req.range(bytes.length);
	if (!Array.isArray(range) || range.length !== 1) return res.type("bin").send(bytes);
	const { start, end } = range[0];
	res.status(206).set("Content-Range", `bytes ${start}-${end}/${bytes.length}`).type("bin").end(bytes.subarray(start, end + 1));
});
app.get("/hints", (req, res) => {
	res.writeEarlyHints({ link: `<${self(req, "/assets/a.css")}>; rel=preload; as=style` });
	res.send("hinted");
});

// /flaky fails with every second request.
let failing = true;
app.get("/flaky", (req, res) => {
	failing = !failing;
	if (failing) return res.status(500).send("failed");
	res.removeHeader("Set-Cookie");
	req.session = null; // no cookie
	res.set("Cache-Control", "max-age=1, stale-if-error=60").send("stable");
});
app.get("/odd", (req, res) => {
	res.statusMessage = "Client Error";
	res.status(401).send("odd");
});
app.get("/framed", (req, res) => {
	res.set({ "X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'" });
	res.send("framed");
});

const server = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
