import assert from 'node:assert/strict';
import test from 'node:test';

import { judge, parseTokens, scenario } from './judge.js';

const ID = '019a9f0c-6b2e-8003-8000-001000000000';
const JSON_TYPE = 'application/json';
const PROBLEM = 'application/problem+json';
const order = JSON.stringify({ order_id: ID, status: 'confirmed' });
const problem = (code) => JSON.stringify({ type: 'about:blank', title: 'x', code });

test('an order id with 201 is an accepted order', () => {
  assert.deepEqual(judge(201, 'application/json; charset=utf-8', order), { answer: 'accepted', orderId: ID, why: null });
});

test('sold out and limit reached are expected with 409', () => {
  for (const code of ['sold_out', 'limit_reached']) assert.equal(judge(409, PROBLEM, problem(code)).answer, code);
});

test('everything else is unexpected', () => {
  const answers = [
    [200, JSON_TYPE, order],
    [202, JSON_TYPE, JSON.stringify({ order_id: ID, status: 'pending' })],
    [409, JSON_TYPE, order],
    [201, JSON_TYPE, JSON.stringify({ order_id: ID, code: 'sold_out' })],
    [201, JSON_TYPE, JSON.stringify({ order_id: 'none' })],
    [201, JSON_TYPE, '{}'],
    [201, PROBLEM, order],
    [201, JSON_TYPE, 'null'],
    [201, JSON_TYPE, ''],
    [200, PROBLEM, problem('sold_out')],
    [409, JSON_TYPE, problem('sold_out')],
    [409, PROBLEM, problem('paused')],
    [409, PROBLEM, problem('constructor')],
    [409, undefined, problem('sold_out')],
    [429, PROBLEM, problem('rate_limited')],
    [503, PROBLEM, problem('unavailable')],
    [502, 'text/html', '<html>'],
    [0, undefined, null],
  ];
  for (const [status, type, body] of answers) {
    const judged = judge(status, type, body);
    assert.equal(judged.answer, 'unexpected', `${status} ${type} ${body}`);
    assert.ok(judged.why);
  }
});

test('a token file is read in its order', () => {
  assert.deepEqual(parseTokens('user_id,token\n1,a.b.c\r\n2,d.e.f\n'), ['a.b.c', 'd.e.f']);
});

test('a file that is no token file is refused', () => {
  for (const text of ['', '1,a\n', 'user_id,token\n', 'user_id,token\n1\n', 'user_id,token\n0,a\n', 'user_id,token\n1,a,b\n']) {
    assert.throws(() => parseTokens(text), Error, text);
  }
});

test('a rate makes the loop an open one', () => {
  assert.deepEqual(scenario({}), { executor: 'per-vu-iterations', vus: 100, iterations: 1, maxDuration: '10m' });
  const open = scenario({ RATE: '2000', SECONDS: '5', VUS: '50' });
  assert.equal(open.executor, 'constant-arrival-rate');
  assert.deepEqual([open.rate, open.duration, open.preAllocatedVUs, open.maxVUs], [2000, '5s', 50, 50]);
});

test('a setting that is no positive whole number is refused', () => {
  for (const environment of [{ VUS: '0' }, { LOOPS: 'x' }, { RATE: '1.5' }, { RATE: '5', SECONDS: '-1' }]) {
    assert.throws(() => scenario(environment), Error);
  }
});
