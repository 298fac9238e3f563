// A gateway that storycast sends over, for one session: node gateway.mjs main nats://127.0.0.1:4222
// `post` stands for WhatsApp: put your own client there. The contract is explained in ../engines.md.
import { randomBytes } from "node:crypto";
import { connect, ErrorCode, headers } from "nats";

const [session = "main", servers = "nats://127.0.0.1:4222"] = process.argv.slice(2);
const capabilities = { reusesMessageId: true, targetsRecipients: true, maxBatch: 5000, kinds: ["text", "image"] };
const codes = { "content-refused": 400, "recipients-rejected": 422, "rate-limited": 429, unavailable: 503, "outcome-unknown": 504 };
const known = ["callId", "content", "recipients", "messageId", "deadlineMs", "targeted"];
const underWay = new Set();

async function post(content, recipients, messageId, signal) {
  signal.throwIfAborted(); // here the message goes out under `messageId`, and is acknowledged
  return Object.fromEntries(recipients.filter((jid) => jid.endsWith("0@s.whatsapp.net")).map((jid) => [jid, "not-on-whatsapp"]));
}

async function send(call) {
  const strange = Object.keys(call).filter((name) => !known.includes(name));
  if (strange.length) return { type: "failure", kind: "content-refused", message: `unknown: ${strange}` };
  if (!call.targeted) return { type: "failure", kind: "unavailable", message: "this gateway targets recipients" };
  const messageId = call.messageId ?? "3EB0" + randomBytes(9).toString("hex").toUpperCase();
  underWay.add(call.callId);
  try {
    const failed = await post(call.content, call.recipients, messageId, AbortSignal.timeout(call.deadlineMs));
    return { type: "receipt", messageId, failed };
  } catch (error) {
    // An error thrown on purpose has a `kind`. Of any other nobody knows what it left behind.
    return { type: "failure", kind: error.kind ?? "outcome-unknown", message: error.name, retryAfter: error.retryAfter ?? null };
  } finally {
    underWay.delete(call.callId);
  }
}

function respond(message, answer) {
  const error = headers();
  if (answer.type === "failure") {
    error.set("Nats-Service-Error", answer.message || answer.kind);
    error.set("Nats-Service-Error-Code", String(codes[answer.kind] ?? 504));
  }
  message.respond(JSON.stringify(answer), { headers: error });
}

const nats = await connect({ servers });
const subject = (name) => `storycast.engine.${session}.${name}`;
const other = await nats.request(subject("status"), "", { timeout: 2000 }).catch((error) => {
  if (![ErrorCode.NoResponders, ErrorCode.Timeout].includes(error.code)) throw error;
});
if (other) throw new Error(`session ${session} is served already by ${other.json().servedBy}`);

const service = await nats.services.add({ name: "storycast-engine", version: "1.0.0", metadata: { session, engine: "example" } });
const status = async () => ({ type: "status", state: "ready", capabilities, servedBy: `gateway.mjs, process ${process.pid}`, calls: [...underWay] });
const refused = (error) => ({ type: "failure", kind: "content-refused", message: error.name }); // nothing was posted by then
const serve = (name, answer) =>
  service.addEndpoint(name, { subject: subject(name), handler: async (_, message) => respond(message, await answer(message).catch(refused)) });
serve("send", async (message) => send(message.json()));
serve("status", status);
serve("audience", async () => ({ type: "failure", kind: "content-refused", message: "this gateway lists no audience" }));
await nats.flush();
console.log(`serving the engine of session ${session} on ${servers}`);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => nats.drain());
