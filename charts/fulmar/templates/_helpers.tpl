{{/* The name of everything that belongs to the operator of this release. */}}
{{- define "fulmar.name" -}}
{{- printf "%s-operator" (.Release.Name | trunc 50 | trimSuffix "-") -}}
{{- end -}}

{{- define "fulmar.serviceAccount" -}}
{{- default (include "fulmar.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Labels that select the operator's pod; a Deployment keeps them for ever. */}}
{{- define "fulmar.selector" -}}
app.kubernetes.io/name: fulmar-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "fulmar.labels" -}}
{{ include "fulmar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "fulmar.operatorImage" -}}
{{- default (printf "fulmar.dev/fulmar-operator:v%s" .Chart.AppVersion) .Values.image.operator -}}
{{- end -}}

{{- define "fulmar.brokerImage" -}}
{{- default (printf "fulmar.dev/fulmar-broker:v%s" .Chart.AppVersion) .Values.image.broker -}}
{{- end -}}

{{/* What the operator may do: each verb is one that it uses, and the tests read the audit log for others. */}}
{{- define "fulmar.rules" -}}
- apiGroups: [mqtt.fulmar.dev]
  resources: [mqttclusters]
  verbs: [get, list, watch]
- apiGroups: [mqtt.fulmar.dev]
  resources: [mqttclusters/status]
  verbs: [patch]
# Owner references that block deletion need it where OwnerReferencesPermissionEnforcement is on, as on OpenShift.
- apiGroups: [mqtt.fulmar.dev]
  resources: [mqttclusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Keys are made once and replaced when they are renewed; they are never applied.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
# Volumes grow claim by claim.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
# Annotations of pods tell brokers their zone; a pod goes by eviction, which asks the PodDisruptionBudget.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
