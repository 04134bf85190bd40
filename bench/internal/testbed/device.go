package testbed

// CapgoPath is where a node answers devices with Capgo's plugin.
const CapgoPath = "/capgo/updates"

// CapgoRequest returns the check of Capgo's plugin on an Android device that runs a version.
func CapgoRequest(app, channel, version string) map[string]any {
	return map[string]any{
		"app_id": app, "device_id": "00009a6b-eefe-490a-9c60-8e965132ae51", "platform": "android", "version_os": "15",
		"plugin_version": "8.51.23", "version_build": "3.2.1", "version_code": "1", "version_name": version, "custom_id": "",
		"is_prod": true, "is_emulator": false, "defaultChannel": channel, "install_source": "google_play",
	}
}
