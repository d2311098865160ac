// A web server that runs the JavaScript it is sent, and answers with what that says: inside.py for Node.
"use strict";

const http = require("node:http");

const AsyncFunction = (async () => {}).constructor;

async function run(source) {
  const said = [];
  try {
    await new AsyncFunction("say", "require", source)((line) => said.push(String(line)), require);
  } catch (error) {
    said.push(error.stack); // told to whoever sent it
  }
  return said.join("\n");
}

async function answer(request, response) {
  const parts = [];
  for await (const part of request) {
    parts.push(part);
  }
  response.end(request.method === "POST" ? await run(Buffer.concat(parts).toString()) : "here");
}

// As process 1 it would not hear of it, and be waited for.
process.on("SIGTERM", () => process.exit(0));
http.createServer(answer).listen(process.env.PORT, "0.0.0.0");
