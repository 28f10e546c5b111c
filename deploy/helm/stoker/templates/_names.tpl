{{- /* Names, and what several files say alike. */ -}}

{{- define "stoker.labels" -}}
app.kubernetes.io/name: stoker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Workers' network policies let exactly these in: src/stoker/runtimes/kubernetes/policy.py. */ -}}
{{- define "stoker.server" -}}
app.kubernetes.io/name: stoker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "stoker.database" -}}
app.kubernetes.io/name: stoker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: database
{{- end }}

{{- define "stoker.secret" -}}
{{ .Values.secret.name | default .Release.Name }}
{{- end }}

{{- define "stoker.workers" -}}
{{ .Values.workers.namespace | default .Release.Namespace }}
{{- end }}

{{- define "stoker.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}{{ hasPrefix "sha256:" $tag | ternary "@" ":" }}{{ $tag }}
{{- end }}

{{- define "stoker.installation" -}}
{{- $name := .Values.installation | default (printf "%s-%s" .Release.Namespace .Release.Name) -}}
{{- if gt (len $name) 32 }}{{ fail (printf "installation: '%s' is longer than 32 characters: say a shorter one" $name) }}{{ end -}}
{{ $name }}
{{- end }}

{{- /* A setting as the server reads it from its environment. */ -}}
{{- define "stoker.text" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else }}{{ toJson . | quote }}{{ end }}
{{- end }}

{{- define "stoker.scheme" -}}
{{ if .Values.ingress.tlsSecret }}https{{ else }}http{{ end }}
{{- end }}
