// The unmodified JavaScript of cordova-plugin-ionic in a browser, which holds its requests to the rules of CORS as the
// WebView of a phone does. What a phone does natively is left to the server of this page: it downloads, as native code
// does, without asking for any origin.
'use strict';
(async () => {
  const hosts = JSON.parse(new URLSearchParams(location.search).get('hosts'));
  const ask = async (path, body) => (await fetch(path, { method: 'POST', body: JSON.stringify(body) })).text();
  const saved = {
    host: '', appId: 'abcd1234', channel: 'production', updateMethod: 'none', maxVersions: 2, updates: {},
    binaryVersionName: '1.0.0', binaryVersionCode: 100,
  };
  const native = {
    getPreferences: () => saved,
    setPreferences: (prefs) => prefs,
    configure: () => {},
    getAppInfo: () => ({ platform: 'android', platformVersion: '14', device: 'dev-uuid-1', dataDirectory: location.origin + '/data/' }),
    copyTo: () => {},
    remove: () => {},
    downloadFile: async ({ url }) => {
      const said = await ask('/download', url);
      if (said !== 'ok') throw new Error(said);
    },
  };
  const texts = {};
  for (const name of ['cordova-js/src/common/channel', 'cordova-js/src/common/utils', 'cordova-plugin-ionic/dist/common', 'cordova-plugin-ionic/dist/guards']) {
    texts[name] = await (await fetch('/modules/' + name + '.js')).text();
  }
  const loaded = {};
  const load = (name, require) => {
    if (!loaded[name]) {
      loaded[name] = { exports: {} };
      new Function('require', 'module', 'exports', texts[name])(require, loaded[name], loaded[name].exports);
    }
    return loaded[name].exports;
  };
  const cordova = (name) => load(name.replace('cordova/', 'cordova-js/src/common/'), cordova);
  const plugin = (name) => load(name.replace('./', 'cordova-plugin-ionic/dist/'), plugin);
  window.WEBVIEW_SERVER_URL = location.origin + '/www';
  window.Ionic = { WebView: { getServerBasePath: (done) => done('/www'), setServerBasePath: () => {}, persistServerBasePath: () => {} } };
  window.cordova = {
    require: cordova,
    exec: (done, failed, service, action, args = []) => {
      Promise.resolve().then(() => native[action](...args)).then(done, (e) => failed(e.message));
    },
  };
  const deploy = plugin('./common').deploy;
  cordova('cordova/channel').onNativeReady.fire();
  await deploy.delegate;
  const outcomes = [];
  for (const host of hosts) {
    try {
      await deploy.configure({ host });
      await deploy.sync();
      outcomes.push('state ' + saved.availableUpdate.state);
      delete saved.availableUpdate;
    } catch (e) {
      outcomes.push(typeof e === 'string' ? e : e.message);
    }
  }
  await ask('/report', outcomes);
})().catch((e) => fetch('/report', { method: 'POST', body: JSON.stringify([String(e)]) }));
