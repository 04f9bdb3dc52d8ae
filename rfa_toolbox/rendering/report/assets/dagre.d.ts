/* What the page uses of dagre. */
interface DagrePoint {
  x: number;
  y: number;
}
interface DagreGraph {
  setGraph(label: object): void;
  setNode(name: string, label: object): void;
  setEdge(from: string, to: string, label: object, name: string): void;
  node(name: string): DagrePoint;
  edge(from: string, to: string, name: string): { points: DagrePoint[] };
}
declare const dagre: {
  graphlib: { Graph: new (options: object) => DagreGraph };
  layout(graph: DagreGraph): void;
};
