// What an answer to an order means, and who the buyers are. Pure: imports nothing of k6, so `node --test` runs it too.

const ORDER_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// The refusals a race may end in, and the status that belongs to each.
const REFUSALS = { sold_out: 409, limit_reached: 409 };

/**
 * Judges one answer by its body, and holds status and media type against it.
 *
 * `answer` is `accepted`, the code of an expected refusal, or `unexpected`; then `why` says in a few words what came instead.
 */
export function judge(status, contentType, body) {
  const unexpected = (why) => ({ answer: 'unexpected', orderId: null, why });
  let document;
  try {
    document = JSON.parse(body);
  } catch (_) {
    return unexpected(`status ${status}, body is not JSON`);
  }
  if (document === null || typeof document !== 'object') {
    return unexpected(`status ${status}, body is not an object`);
  }
  const mediaType = String(contentType || '').split(';')[0].trim().toLowerCase();
  if (status === 201) {
    if (mediaType !== 'application/json') return unexpected(`status 201, media type ${mediaType}`);
    if (document.code !== undefined) return unexpected(`status 201 with code ${document.code}`);
    if (!ORDER_ID.test(document.order_id)) return unexpected('status 201 without an order id');
    return { answer: 'accepted', orderId: document.order_id, why: null };
  }
  const known = Object.prototype.hasOwnProperty.call(REFUSALS, document.code);
  if (!known || REFUSALS[document.code] !== status) return unexpected(`status ${status}, code ${document.code}`);
  if (mediaType !== 'application/problem+json') return unexpected(`code ${document.code}, media type ${mediaType}`);
  return { answer: document.code, orderId: null, why: null };
}

/** The tokens of a file that `doorbuster token --count N --out FILE` made, in its order. */
export function parseTokens(text) {
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  if (lines[0] !== 'user_id,token') throw new Error('the token file must begin with the header user_id,token');
  const tokens = lines.slice(1).map((line) => line.split(','));
  if (tokens.length === 0) throw new Error('the token file has no tokens');
  for (const cells of tokens) {
    if (cells.length !== 2 || !/^[1-9][0-9]*$/.test(cells[0]) || cells[1] === '') {
      throw new Error('every line of the token file must be user_id,token');
    }
  }
  return tokens.map(([, token]) => token);
}

/** How the orders are sent: `RATE` orders a second if it is given (open loop), else every buyer in turn (closed loop). */
export function scenario(environment) {
  const positive = (name, otherwise) => {
    const value = environment[name] === undefined ? otherwise : Number(environment[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`${name} must be a whole number of at least 1`);
    return value;
  };
  if (environment.RATE === undefined) {
    return { executor: 'per-vu-iterations', vus: positive('VUS', 100), iterations: positive('LOOPS', 1), maxDuration: '10m' };
  }
  const vus = positive('VUS', 500);
  return {
    executor: 'constant-arrival-rate',
    rate: positive('RATE'),
    timeUnit: '1s',
    duration: `${positive('SECONDS', 10)}s`,
    preAllocatedVUs: vus,
    maxVUs: vus,
  };
}
