// Follows a run from Node, without any package: node client.mjs "$(relstab socket runs/today)", or over TCP node client.mjs PORT TOKEN
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
const [place, token] = process.argv.slice(2);
const socket = token ? createConnection(Number(place), "127.0.0.1") : createConnection(place);
const say = (request) => socket.write(JSON.stringify(request) + "\n");
let since = Number(process.env.SINCE ?? 0); // the number of the last event that is known
if (token) say({ type: "token", token });
for await (const line of createInterface({ input: socket })) {
  const { type, measurement, ...event } = JSON.parse(line);
  if (type === "hello") say({ type: "subscribe", since });
  else if (type === "subscribed" && event.since < since) {
    console.error(`the journal went back, from event ${since} to ${event.since}: hearing all of it anew`);
    say({ type: "subscribe", since: (since = 0) });
  } else if (type === "measured") {
    console.log(`step ${measurement.metadata.step}: R_f ${measurement.r_f?.value.toFixed(3) ?? "undefined"}`);
  } else if (type === "stop") {
    console.log(`stop: ${event.reason}`);
    break;
  }
}
socket.end();
