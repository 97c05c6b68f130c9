// Serves the build of a single page app, which handles all paths itself.
import path from "node:path";
import express from "express";

const dist = path.resolve(process.argv[2]);
const app = express();
app.use("/assets", express.static(path.join(dist, "assets"), { immutable: true, maxAge: "365d" }));
app.use(express.static(dist));
app.get("/{*path}", (req, res) => res.sendFile(path.join(dist, "index.html")));

const server = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
