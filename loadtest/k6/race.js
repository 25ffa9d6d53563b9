// Many buyers, one commodity.
//
//   k6 run -e TOKENS=tokens.csv [-e URL=http://127.0.0.1:8080] [-e COMMODITY=1] [-e QUANTITY=1] loadtest/k6/race.js
//
// Closed loop: -e VUS=100 -e LOOPS=2, one buyer a VU. Open loop: -e RATE=2000 -e SECONDS=10 [-e VUS=500]; each order is
// the next buyer's. TOKENS is made by `doorbuster token --count N --out tokens.csv`; k6 reads it relative to this file.
//
// Ends with an exit code other than 0 if any answer is unexpected, if nothing was sent, or if the open loop could not keep its rate.

import exec from 'k6/execution';
import http from 'k6/http';
import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';

import { judge, parseTokens, scenario } from './judge.js';

if (!__ENV.TOKENS) throw new Error('TOKENS must name a token file');

const tokens = new SharedArray('tokens', () => parseTokens(open(__ENV.TOKENS)));
const race = scenario(__ENV);
const openLoop = race.executor === 'constant-arrival-rate';
const target = `${__ENV.URL || 'http://127.0.0.1:8080'}/v1/commodities/${__ENV.COMMODITY || 1}/orders`;
const payload = JSON.stringify({ quantity: Number(__ENV.QUANTITY || 1) });

const answers = {
  accepted: new Counter('orders_accepted'),
  sold_out: new Counter('orders_sold_out'),
  limit_reached: new Counter('orders_limit_reached'),
  unexpected: new Counter('orders_unexpected'),
};

export const options = {
  scenarios: { race },
  summaryTrendStats: ['min', 'med', 'p(99)', 'p(99.9)', 'max'],
  thresholds: {
    orders_unexpected: ['count==0'],
    http_reqs: ['count>0'],
    ...(openLoop ? { dropped_iterations: ['count==0'] } : {}),
  },
};

export function setup() {
  if (!openLoop && tokens.length < race.vus) throw new Error(`${race.vus} VUs, but only ${tokens.length} tokens`);
}

export default function () {
  const buyer = openLoop ? exec.scenario.iterationInTest : exec.vu.idInTest - 1;
  const response = http.post(target, payload, {
    headers: { Authorization: `Bearer ${tokens[buyer % tokens.length]}`, 'Content-Type': 'application/json' },
    tags: { name: 'order' },
    timeout: '15s',
  });
  const { answer, why } = judge(response.status, response.headers['Content-Type'], response.body);
  answers[answer].add(1);
  // The first few are enough to see what is wrong.
  if (answer === 'unexpected' && exec.vu.iterationInScenario < 1) console.error(`unexpected answer: ${why}`);
}
