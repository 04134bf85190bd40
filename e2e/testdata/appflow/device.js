// One launch of an app with the unmodified JavaScript of cordova-plugin-ionic, under Node. What a phone does natively
// (preferences, copying the app's own files, downloads, the base path of the WebView) is done here on a folder.
//
//   node device.js '{"modules": ..., "root": ..., "native": {...}, "calls": [["sync", {}]]}'
//
// The folder holds www (the files in the app's package), and data, saved.json, custom.json and base, which are the
// device's own. Every call is made on the plugin's deploy object; its outcome, the requests and the folder that the
// WebView shows go to standard output as one line of JSON.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const crypto = require('node:crypto');

const config = JSON.parse(process.argv[2]);
const inRoot = (...names) => path.join(config.root, ...names);
const readJSON = (name) => (fs.existsSync(inRoot(name)) ? JSON.parse(fs.readFileSync(inRoot(name), 'utf8')) : {});
const writeJSON = (name, value) => fs.writeFileSync(inRoot(name), JSON.stringify(value));
const requests = [];

// The list of files that `ionic live-update manifest` puts into the package.
function packageManifest() {
  const dir = inRoot('www');
  const entries = fs.readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => !/(css|js)\.map$/.test(file) && path.relative(dir, file) !== 'pro-manifest.json')
    .map((file) => {
      const data = fs.readFileSync(file);
      const sum = (name) => name + '-' + crypto.createHash(name).update(data).digest('base64');
      return { href: path.relative(dir, file), size: data.length, integrity: ['sha256', 'sha384', 'sha512'].map(sum).join(' ') };
    });
  fs.writeFileSync(path.join(dir, 'pro-manifest.json'), JSON.stringify(entries, undefined, 2));
}

// What the native half of the plugin does (src/android/IonicCordovaCommon.java).
const native = {
  getPreferences() {
    const saved = fs.existsSync(inRoot('saved.json')) ? readJSON('saved.json') : { updates: {} };
    return { ...saved, ...config.native, ...readJSON('custom.json') };
  },
  setPreferences(prefs) { writeJSON('saved.json', prefs); return prefs; },
  configure(prefs) { writeJSON('custom.json', { ...readJSON('custom.json'), ...prefs }); },
  getAppInfo() {
    return { platform: config.platform, platformVersion: '14', device: config.device, dataDirectory: 'file://' + inRoot('data') + '/' };
  },
  copyTo({ source, target }) { fs.cpSync(inRoot(source.path), target, { recursive: true }); },
  remove({ target }) { fs.rmSync(target, { recursive: true }); },
  async downloadFile({ url, target }) {
    const answer = await fetch(url, { headers: { 'accept-encoding': 'gzip' } });
    requests.push({ method: 'FILE', url, status: answer.status });
    if (answer.status !== 200) throw new Error('HTTP ' + answer.status); // as on iOS; Android takes any 2xx
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, Buffer.from(await answer.arrayBuffer()));
  },
};

const server = 'http://localhost:1/webview'; // never asked over the network
let base = fs.existsSync(inRoot('base')) ? fs.readFileSync(inRoot('base'), 'utf8') : inRoot('www');
let reloads = 0;

async function webFetch(url, options = {}) {
  if (String(url).startsWith(server)) {
    const file = path.join(base, String(url).slice(server.length));
    return fs.existsSync(file) ? new Response(fs.readFileSync(file)) : new Response('', { status: 404 });
  }
  const answer = await fetch(url, options);
  requests.push({ method: options.method ?? 'GET', url: String(url), status: answer.status, final: answer.url });
  return answer;
}

// launch loads the plugin as a page does, and returns its deploy object.
async function launch() {
  let reload = false, settled;
  const settling = new Promise((done) => { settled = done; });
  const quiet = () => {};
  const context = vm.createContext({
    console: { log: quiet, warn: quiet, error: quiet }, fetch: webFetch, Headers, URL, WEBVIEW_SERVER_URL: server,
    setTimeout, navigator: { onLine: true }, document: { addEventListener: quiet },
    window: { setTimeout },
    Ionic: { WebView: {
      getServerBasePath: (done) => done(base),
      setServerBasePath: (to) => { base = to; reload = true; settled(); },
      persistServerBasePath: () => fs.writeFileSync(inRoot('base'), base),
    } },
  });
  const loaded = {};
  const load = (name, file, require) => {
    if (!loaded[name]) {
      const module = { exports: {} };
      loaded[name] = module;
      const text = '(function (require, module, exports) {' + fs.readFileSync(file, 'utf8') + '\n})';
      vm.runInContext(text, context, { filename: file })(require, module, module.exports);
    }
    return loaded[name].exports;
  };
  const cordova = (name) => load(name, path.join(config.modules, 'cordova-js/src/common', name.replace('cordova/', '') + '.js'), cordova);
  context.cordova = {
    require: cordova,
    exec(done, failed, service, action, args = []) {
      Promise.resolve().then(() => native[action](...args)).then(done, (e) => failed(e.message));
    },
  };
  const dist = path.join(config.modules, 'cordova-plugin-ionic/dist');
  const plugin = (name) => load(name, path.join(dist, name.replace('./', '') + '.js'), plugin);
  const deploy = plugin('./common').deploy;
  const channel = cordova('cordova/channel');
  channel.onIonicProReady.subscribe(settled);
  channel.onNativeReady.fire();
  await deploy.delegate;
  await settling; // the plugin does not wait for its own reload: it either shows what it should, or reloads
  if (reload && reloads++ < 3) return launch();
  return deploy;
}

async function main() {
  fs.mkdirSync(inRoot('data'), { recursive: true });
  if (config.manifest && !fs.existsSync(inRoot('www', 'pro-manifest.json'))) packageManifest();
  const deploy = await launch();
  const outcomes = [];
  for (const [name, ...args] of config.calls) {
    try {
      outcomes.push({ value: await deploy[name](...args) ?? null });
    } catch (e) {
      outcomes.push({ error: typeof e === 'string' ? e : e.message, name: e.name });
    }
  }
  await new Promise((done) => process.stdout.write(JSON.stringify({ outcomes, requests, shows: base }) + '\n', done));
  process.exit(0); // the plugin leaves its timers of five seconds behind
}

main().catch((e) => { console.error(e); process.exit(1); });
