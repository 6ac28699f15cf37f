// Follows a run from Node, without any package: node client.mjs "$(relstab socket runs/today)", or over TCP node client.mjs PORT TOKEN
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

const [place, token] = process.argv.slice(2);
const socket = token ? createConnection(Number(place), "127.0.0.1") : createConnection(place);
if (token) socket.write(JSON.stringify({ type: "token", token }) + "\n");
for await (const line of createInterface({ input: socket })) {
  const event = JSON.parse(line);
  if (event.type === "hello") {
    socket.write(JSON.stringify({ type: "subscribe", since: 0 }) + "\n");
  } else if (event.type === "measured") {
    const { r_f, metadata } = event.measurement;
    console.log(`step ${metadata.step}: R_f ${r_f ? r_f.value.toFixed(3) : "undefined"}`);
  } else if (event.type === "stop") {
    console.log(`stop: ${event.reason}`);
    break;
  }
}
socket.end();
